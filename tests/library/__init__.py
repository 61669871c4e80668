"""The Python layers, a file per module."""
