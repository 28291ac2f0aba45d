"""The folder on a phone that models lie in: who may use it, and what it keeps."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import platform
import re
import secrets
import time

from brpnas.devices.adb.scripts import CLAIM, DROP, FIND, RELEASE, ROOM
from brpnas.devices.adb.transport import Transport, checking_s
from brpnas.devices.litert import DeviceLostError, ModelError
from brpnas.devices.tflite import TFLiteModel
from brpnas.errors import UserError, one_line

__all__ = ["WorkFolder"]

# Models stay on the phone for the next round; above this those unused for longest are removed.
_KEPT_BYTES = 512 * 2**20
_SPARE_BYTES = 8 * 2**20  # Android complains, and apps fail, on a disk that is full to the brim
# What df and stat say; a linker's or a shell's warnings may stand between.
_FREE = re.compile(r"^\S* +\d+ +\d+ +(\d+) +\d+% ", re.MULTILINE)
_MODEL = re.compile(r"^(\d+) (?:\./)?([0-9a-f]{64}\.tflite)$", re.MULTILINE)
_CLAIM_EVERY_S = 30.0


class WorkFolder:
    """A folder on a phone, used by one user of one machine at a time.

    Who uses it is noted there, with a time after which the note is void: it holds against other
    machines, and a program that was killed blocks nobody for long. Programs of one user on one
    machine keep off each other by ``brpnas.devices.sweep.exclusive``.

    Args:
        transport: a link to the phone, connected.
        path: on the phone.
        lease_s: how long the folder stays this user's after each ``claim``.
    """

    def __init__(self, transport: Transport, path: str, lease_s: float) -> None:
        self.path = path
        self._transport = transport
        self._lease_s = lease_s
        self._token = secrets.token_hex(8)
        self._claimed = -math.inf
        self._there: set[str] = set()

    def claim(self) -> None:
        """Make the folder if it is missing, and note that it is in use.

        Raises:
            UserError: somebody else uses it, or it cannot be written.
            DeviceLostError: no answer.
        """
        if time.monotonic() - self._claimed < _CLAIM_EVERY_S:
            return
        who = f"{os.getuid()}@{''.join(platform.node().split()) or '?'}"
        seconds = str(math.ceil(self._lease_s))
        reply = self._transport.script(CLAIM, [self.path, who, self._token, seconds])
        said, _, answer = reply.text.strip().rpartition("\n")
        label = self._transport.label
        if answer.startswith("taken "):
            (user, _, machine), left = answer.split()[1].partition("@"), answer.split()[-1]
            raise UserError(
                f"phone {label} is in use by user {one_line(user)} of machine "
                f"'{one_line(machine)}': two measurements at once would disturb each other; wait "
                f"for that to end (if it was killed: {left} s)"
            )
        if answer == "readonly":
            raise UserError(
                f"phone {label}: folder {self.path} cannot be written "
                f"({one_line(said) or 'no permission'}); write another one as adb.folder in the "
                "profile, such as /data/local/tmp/brpnas"
            )
        if answer != "claimed":
            raise DeviceLostError(f"phone {label}: unexpected answer: {one_line(reply.text)}")
        self._claimed = time.monotonic()

    def release(self) -> None:
        """Let others use it; where the phone does not answer, they have to wait."""
        if self._claimed > -math.inf:
            with contextlib.suppress(DeviceLostError):
                self._transport.script(RELEASE, [self.path, self._token], 2)
            self._claimed = -math.inf

    def model_path(self, model: TFLiteModel) -> str:
        """Return where a model lies on the phone: under its hash, whatever its name."""
        return f"{self.path}/{model.sha256}.tflite"

    def program_path(self, content: bytes) -> str:
        """Return where a program of this machine lies on the phone."""
        return f"{self.path}/benchmark_model-{hashlib.sha256(content).hexdigest()[:16]}"

    def room_bytes(self) -> float:
        """Return how many bytes of models the phone keeps at a time.

        Raises:
            UserError: as ``claim``.
            DeviceLostError: no answer.
        """
        self.claim()
        free, sizes = self._look()
        return min(_KEPT_BYTES, free + sum(sizes.values()) - _SPARE_BYTES)

    def put_program(self, content: bytes) -> None:
        """Put a program there, unless it is.

        Raises:
            PushRefused: with the phone's reason, such as a full disk.
            DeviceLostError: no answer.
        """
        path = self.program_path(content)
        if not self._holds(path, hashlib.sha256(content).hexdigest(), len(content)):
            self._transport.push_verified(content, path, 0o755)

    def put_model(self, model: TFLiteModel) -> None:
        """Put a model there, unless it is; those unused for longest make room for it.

        Raises:
            ModelError: the phone has room for models, but not for this one.
            UserError: its disk is full.
            DeviceLostError: no answer.
        """
        if model.sha256 in self._there:
            return
        path = self.model_path(model)
        if not self._holds(path, model.sha256, len(model.content)):
            self._make_room(model)
            self._transport.push_verified(model.content, path)
        self._there.add(model.sha256)

    def forget(self) -> None:
        """Look anew at what is there: others may have removed it."""
        self._there.clear()

    def _holds(self, path: str, digest: str, size: int) -> bool:
        known = self._transport.script(FIND, [path, digest, str(size)], checking_s(size))
        return known.code == 0

    def _look(self) -> tuple[float, dict[str, int]]:
        """Return the bytes that are free, and those of each model, the longest unused first."""
        text = self._transport.script(ROOM, [self.path]).text
        free = _FREE.search(text)
        sizes = {name: int(size) for size, name in _MODEL.findall(text)}
        return (int(free[1]) * 1024.0 if free else math.inf), sizes

    def _make_room(self, model: TFLiteModel) -> None:
        free, sizes = self._look()
        size, kept = len(model.content), sum(sizes.values())
        if size + _SPARE_BYTES > free + kept:
            label, most = self._transport.label, (free + kept) / 2**20
            needed = (size + _SPARE_BYTES) / 2**20
            if free + kept <= _SPARE_BYTES:
                raise UserError(
                    f"phone {label}: its disk is full: {most:.0f} MB free in {self.path}; remove "
                    "something, then repeat the command with --resume"
                )
            raise ModelError(
                f"'{one_line(model.name)}' is too large for phone {label}: {needed:.0f} MB "
                f"needed, {most:.0f} MB free in {self.path}; remove something from the phone"
            )
        old = list(sizes)
        while sizes and (kept + size > _KEPT_BYTES or size + _SPARE_BYTES > free):
            removed = sizes.pop(next(iter(sizes)))
            kept, free = kept - removed, free + removed
        if gone := old[: len(old) - len(sizes)]:
            self._transport.script(DROP, [self.path, str(len(gone))])
            self._there -= {name.removesuffix(".tflite") for name in gone}
