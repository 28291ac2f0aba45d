"""Where independent evaluations run: in this process, in several, or on a Ray cluster."""

from brpnas.executors.executor import Executor, Handle, Outcome
from brpnas.executors.in_process import InProcess
from brpnas.executors.processes import Processes, usable_cores
from brpnas.executors.ray import RayCluster

__all__ = [
    "Executor",
    "Handle",
    "InProcess",
    "Outcome",
    "Processes",
    "RayCluster",
    "usable_cores",
]
