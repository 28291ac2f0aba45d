"""From what the user names to a table: models, devices, the sweep between them, the export."""

from brpnas.measuring.choice import Wanted, choose_models
from brpnas.measuring.export import Ended, end, export
from brpnas.measuring.jobs import Job, open_jobs, open_store, store_path, sweep_all, table_paths

__all__ = [
    "Ended",
    "Job",
    "Wanted",
    "choose_models",
    "end",
    "export",
    "open_jobs",
    "open_store",
    "store_path",
    "sweep_all",
    "table_paths",
]
