"""File readers, one per format."""
