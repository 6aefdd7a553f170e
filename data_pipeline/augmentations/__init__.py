"""Random steps of training, one per file."""
