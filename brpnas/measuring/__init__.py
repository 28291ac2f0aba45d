"""From what the user names to a table: models, devices, the sweep between them, the export."""

from brpnas.measuring.choice import Wanted, choose_models
from brpnas.measuring.export import export
from brpnas.measuring.jobs import Job, open_jobs, store_path, sweep_all

__all__ = ["Job", "Wanted", "choose_models", "export", "open_jobs", "store_path", "sweep_all"]
