"""Tables of measured networks: what is known of each architecture, and where it comes from.

A ``Table`` has one row for each architecture and metric columns with the unit in their name; its
``Card`` says what was measured, how, and how to do it again. Tables are read and written as
Parquet or CSV, come with the package, or are imported from files that others have published.
"""

if __name__ != "brpnas.datasets":
    raise ImportError("import this package as 'brpnas.datasets' (the bare name belongs to others)")

from brpnas.datasets.card import Card
from brpnas.datasets.catalogue import embedded_names, open_table
from brpnas.datasets.formats import FORMATS, importer
from brpnas.datasets.storage import SUFFIXES, check_writable, read_table, write_table
from brpnas.datasets.table import Selection, Table, content_sha256
from brpnas.datasets.unpickle import safe_load

__all__ = [
    "FORMATS",
    "SUFFIXES",
    "Card",
    "Selection",
    "Table",
    "check_writable",
    "content_sha256",
    "embedded_names",
    "importer",
    "open_table",
    "read_table",
    "safe_load",
    "write_table",
]
