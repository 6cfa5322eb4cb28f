"""The linear classifier, done completely."""

__version__ = "0.1.0"
