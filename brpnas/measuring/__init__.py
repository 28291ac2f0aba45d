"""From what the user names to a table: models, devices, the sweep between them, the export.

``measure`` is the whole of it, and ``compute`` for devices that are not timed; the others are
their parts.
"""

from brpnas.measuring.choice import Models, Networks, Wanted, choose_models, choose_networks
from brpnas.measuring.computed import compute
from brpnas.measuring.export import Ended, end, export
from brpnas.measuring.jobs import Job, open_jobs, open_store, store_path, sweep_all, table_paths
from brpnas.measuring.session import Settings, measure

__all__ = [
    "Ended",
    "Job",
    "Models",
    "Networks",
    "Settings",
    "Wanted",
    "choose_models",
    "choose_networks",
    "compute",
    "end",
    "export",
    "measure",
    "open_jobs",
    "open_store",
    "store_path",
    "sweep_all",
    "table_paths",
]
