"""An executor for those who outgrow one machine: Ray."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import pickle
import socket
import sys
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from brpnas.executors._workers import ONE_THREAD, Workers, answer, kept, pickled, read
from brpnas.executors.executor import Handle, Outcome, describe

__all__ = ["RayCluster"]

T = TypeVar("T")

_LONGEST = 300
_CONNECT_S = 10.0


@dataclass(frozen=True)
class _Stored(Handle[T]):
    """A value in Ray's store."""

    reference: Any

    def get(self) -> T:
        def load() -> T:
            ray = importlib.import_module("ray")
            value: T = pickle.loads(ray.get(self.reference))  # noqa: S301 - our own caller's
            return value

        return kept(self.reference.hex(), load)


class RayCluster(Workers[Any]):
    """Several items at a time, each a Ray task of one core and one computing thread.

    A worker that dies or a node that is lost fails its own items only. The package, of the same
    version, has to be installed on every node; so does what the function needs.

    A process has one connection to Ray. Where it has one already, that is used and left alone.

    Args:
        workers: items under way at a time. None: enough to keep all cores of the cluster busy.
        address: of the cluster to join, as ``ray.init`` takes it: ``"auto"``, ``"host:6379"``.
            None: an instance of Ray on this machine, which ends with ``close``.
        retries: how often an item that failed is tried again.

    Raises:
        ValueError: fewer than one worker.
        ImportError: Ray is not installed.
        ConnectionError: Ray cannot be reached or started.
    """

    def __init__(
        self, workers: int | None = None, address: str | None = None, retries: int = 1
    ) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        try:
            self._ray: Any = importlib.import_module("ray")
            self._internals: Any = importlib.import_module("ray._private.worker")
        except ImportError as error:
            raise ImportError(
                "Ray is not installed: install brpnas with its extra 'ray' (in brpnas's folder: "
                "pip install '.[ray]')"
            ) from error
        super().__init__(retries, dumps=self._ray.cloudpickle.dumps)
        self._workers = workers
        self._connected_here = False
        if not self._ray.is_initialized():
            self._connect(address)
        elif address is not None:
            raise ConnectionError(
                f"cannot join Ray at {address}: this process is connected to Ray already"
            )
        variables = dict(ONE_THREAD)
        if self._connected_here and address is None:  # what can be imported here can be there
            variables["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, sys.path))
        options = {"num_cpus": 1, "max_retries": 0, "runtime_env": {"env_vars": variables}}
        self._answer = self._ray.remote(**options)(_answer)

    def publish(self, value: T) -> Handle[T]:
        """Put a value into Ray's store, from which each node gets it once.

        Raises:
            UserError: it cannot be pickled.
        """
        return _Stored(self._ray.put(pickled(value, self._ray.cloudpickle.dumps)))

    def close(self) -> None:
        """Disconnect, and end the instance that was started here; a cluster that was joined stays.

        Without effect on a connection that the process had before.
        """
        if self._connected_here:
            self._ray.shutdown()
            self._internals._worker_logs_enabled = True
            self._connected_here = False

    def _connect(self, address: str | None) -> None:
        cores = {"num_cpus": self._workers} if address is None else {}  # a cluster has its own
        # Even with `log_to_driver` off, Ray writes of every worker that dies to stdout, which is
        # the result's; its own debugger silences it this way.
        self._internals._worker_logs_enabled = False
        try:
            if address is not None:
                _check_listening(address)
            self._ray.init(
                address=address or "local",
                include_dashboard=False if address is None else None,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                **cores,
            )
        except Exception as error:
            self._internals._worker_logs_enabled = True
            what = f"join Ray at {address}" if address else "start Ray on this machine"
            raise ConnectionError(f"cannot {what}: {_short(error)}") from error
        self._connected_here = True

    def _limit(self) -> int:
        if self._workers is not None:
            return self._workers
        # Twice as many as run, so that no core waits for the next one to be sent.
        return max(1, 2 * int(self._ray.cluster_resources().get("CPU", 0)))

    def _start(self, work: bytes) -> Any:  # noqa: ANN401 - Ray's reference to a result
        return self._answer.remote(work)

    def _finished(self, tasks: Collection[Any]) -> list[tuple[Any, Outcome[Any]]]:
        (task,), _ = self._ray.wait(list(tasks), num_returns=1)
        return [(task, self._receive(task))]

    def _receive(self, task: Any) -> Outcome[Any]:  # noqa: ANN401
        try:
            return read(self._ray.get(task))
        except self._ray.exceptions.WorkerCrashedError:
            return Outcome(error="worker process died")
        except self._ray.exceptions.RayError as error:  # the node is lost, memory is short, ...
            return Outcome(error=_short(error))

    def _abandon(self, tasks: Collection[Any]) -> None:
        with contextlib.suppress(Exception):  # the connection may be what is lost
            for task in tasks:
                self._ray.cancel(task, force=True)


def _check_listening(address: str) -> None:
    """Find out in seconds that nobody listens; Ray itself tries for more than ten minutes.

    Raises:
        OSError: nobody does.
    """
    url = urlsplit(address if "://" in address else f"//{address}")
    if url.hostname and url.port:  # not "auto"
        socket.create_connection((url.hostname, url.port), timeout=_CONNECT_S).close()


def _short(error: Exception) -> str:
    text = describe(error)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _answer(work: bytes) -> bytes:
    cloudpickle = importlib.import_module("ray.cloudpickle")
    return answer(work, cloudpickle.dumps)
