"""From what the user names to a table: models, devices, the sweep between them, the export.

``measure`` is the whole of it, and ``compute`` for devices that are not timed.
"""

from brpnas.measuring.choice import Wanted, choose_models, choose_networks
from brpnas.measuring.computed import compute
from brpnas.measuring.export import Ended
from brpnas.measuring.session import TableSettings, measure

__all__ = [
    "Ended",
    "TableSettings",
    "Wanted",
    "choose_models",
    "choose_networks",
    "compute",
    "measure",
]
