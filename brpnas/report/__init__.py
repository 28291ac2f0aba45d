"""What a run found, for people: plots and one self-contained HTML page."""

from brpnas.report.front import write_front_report
from brpnas.report.page import write_report
from brpnas.report.plots import save_scatter

__all__ = ["save_scatter", "write_front_report", "write_report"]
