"""What runs found, for people: one self-contained HTML page of a run, or of several."""

from brpnas.report.runs import write_reports

__all__ = ["write_reports"]
