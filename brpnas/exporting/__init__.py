"""Compressed networks as files that other programs run."""

from brpnas.exporting.compressed import DEFAULT_FORMATS, FORMATS, Exported, export_compressed
from brpnas.exporting.format import Checked, Format, Subject, check

__all__ = [
    "DEFAULT_FORMATS",
    "FORMATS",
    "Checked",
    "Exported",
    "Format",
    "Subject",
    "check",
    "export_compressed",
]
