"""The batch runner: knows a case and a callable, not a network. Imports only `domain`."""
