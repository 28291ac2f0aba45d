"""Compressed networks as files that other programs run."""

from brpnas.exporting.compressed import Exported, export_compressed

__all__ = ["Exported", "export_compressed"]
