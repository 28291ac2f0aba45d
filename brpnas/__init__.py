"""Find the best network for hardware you own: measure a few, predict the rest, search."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("brpnas")
