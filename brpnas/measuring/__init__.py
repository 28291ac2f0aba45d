"""From what the user names to a table: models, devices, the sweep between them, the export.

``measure`` is the whole of it; the others are its parts.
"""

from brpnas.measuring.choice import Models, Wanted, choose_models
from brpnas.measuring.export import Ended, end, export
from brpnas.measuring.jobs import Job, open_jobs, open_store, store_path, sweep_all, table_paths
from brpnas.measuring.session import Settings, measure

__all__ = [
    "Ended",
    "Job",
    "Models",
    "Settings",
    "Wanted",
    "choose_models",
    "end",
    "export",
    "measure",
    "open_jobs",
    "open_store",
    "store_path",
    "sweep_all",
    "table_paths",
]
