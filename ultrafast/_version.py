"""The version of ultrafast, read from here by the build and at run time. Stands on nothing."""

__all__ = ["__version__"]

__version__ = "0.1.0"
