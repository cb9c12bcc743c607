"""The version of nimify, in one place."""

__version__ = "0.1.0"
