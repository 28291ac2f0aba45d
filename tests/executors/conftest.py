"""Lets tests and workers import ``executor_work``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "work"))
