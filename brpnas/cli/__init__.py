"""The command line: one file per command, each a thin wrapper over documented Python calls.

What is slow to import (torch, pandas, matplotlib) is imported inside the commands, so that
``brpnas --help`` answers at once.
"""

from brpnas.cli._app import app, main

__all__ = ["app", "main"]
