"""The link to a phone: run a command, put a file."""

from __future__ import annotations

import hashlib
import math
import secrets
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from brpnas.devices.litert import DeviceLostError
from brpnas.errors import UserError, one_line

__all__ = ["PushRefused", "Reply", "Transport", "checking_s"]

T = TypeVar("T")

# What a command may take on top of its own limit, on the phone (killing it) and on the way back.
_KILL_AFTER_S = 2
_GRACE_S = 8.0
_PUSH_BYTES_PER_S = 200_000  # a poor Wi-Fi link
_READ_BYTES_PER_S = 50e6  # a slow phone


class PushRefused(UserError):  # noqa: N818 - as the other errors of devices
    """The phone answered, but did not take a file; the message is its reason."""


@dataclass(frozen=True)
class Reply:
    """How a command ended.

    Attributes:
        code: exit status.
        text: stdout and stderr, as they came.
        timed_out: whether the phone killed it because it took too long.
    """

    code: int
    text: str
    timed_out: bool = False


def checking_s(size: int) -> float:
    """Return how many seconds a phone may take to hash a file of so many bytes."""
    return 20 + size / _READ_BYTES_PER_S


class Transport(ABC):
    """A link to one phone. Add one by writing a subclass.

    After any fault the link counts as broken, because what comes next may be the rest of an
    earlier answer; it works again after ``reconnect``.

    Args:
        label: what errors call the phone: its serial or address.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._broken: str | None = "not connected"

    @abstractmethod
    def _connect(self) -> None:
        """Connect anew, releasing what an earlier connection held.

        Raises:
            UserError: the user can put it right, such as a phone that was not authorised.
        """

    @abstractmethod
    def _close(self) -> None:
        """Release the link; harmless where there is none."""

    @abstractmethod
    def _run(self, line: str, timeout_s: float) -> str:
        """Have the phone's shell run a line; return all it wrote."""

    @abstractmethod
    def _put(self, content: bytes, remote: str, mode: int, timeout_s: float) -> None:
        """Write a file on the phone.

        Raises:
            PushRefused: with the phone's reason.
        """

    def shell(self, words: Sequence[str], timeout_s: float) -> Reply:
        """Run a command, killed on the phone after so many seconds.

        Args:
            words: the command and its arguments. Each stays one word, whatever is in it.
            timeout_s: of the command.

        Raises:
            DeviceLostError: no answer.
        """
        limit = math.ceil(timeout_s)
        timed = ["timeout", "-k", str(_KILL_AFTER_S), str(limit), *words]
        reply = self._reply(timed, limit + _KILL_AFTER_S)
        # coreutils says 124; busybox and older phones report the signal that ended the command.
        return Reply(reply.code, reply.text, reply.code in (124, 137, 143))

    def script(self, text: str, arguments: Sequence[str] = (), timeout_s: float = 20.0) -> Reply:
        """Run a fixed script of a POSIX shell; what varies comes as its arguments $1, $2, ...

        It is not killed on the phone: what may take long in it runs under ``timeout`` there.

        Raises:
            DeviceLostError: no answer.
        """
        return self._reply(["sh", "-c", text, "brpnas", *arguments], timeout_s)

    def _reply(self, words: Sequence[str], timeout_s: float) -> Reply:
        # adb's oldest service, which every phone has, does not tell the exit status. Nothing that
        # a command prints can be mistaken for this mark.
        mark = f"__rc_{secrets.token_hex(8)}="
        line = f"( {shlex.join(words)} ) 2>&1; r=$?; echo; echo {mark}$r"
        text = self._guarded(
            lambda: self._run(line, timeout_s + _GRACE_S), "no answer to a command"
        )
        output, found, code = text.replace("\r\n", "\n").rpartition(mark)
        if not found or not code.strip().isdigit():
            self._broken = "an answer was cut off"
            raise DeviceLostError(
                f"phone {self.label}: the answer was cut off: {one_line(text[-200:]) or '(empty)'}"
            )
        return Reply(int(code), output.removesuffix("\n"))

    def push(self, content: bytes, remote: str, mode: int = 0o644) -> None:
        """Write a file on the phone. Whether it arrived whole is for the caller to check.

        Raises:
            PushRefused: with the phone's reason, such as a full disk.
            DeviceLostError: no answer.
        """
        timeout_s = 30 + len(content) / _PUSH_BYTES_PER_S
        self._guarded(lambda: self._put(content, remote, mode, timeout_s), "link cut in a push")

    def push_verified(self, content: bytes, remote: str, mode: int = 0o644) -> None:
        """Write a file on the phone so that its name stands for the whole content or nothing.

        Raises:
            PushRefused: the phone does not take it.
            DeviceLostError: no answer, or it arrived in another form.
        """
        part = f"{remote}.{secrets.token_hex(4)}.part"
        self.push(content, part, mode)
        digest = hashlib.sha256(content).hexdigest()
        size = len(content)
        reply = self.script(_ACCEPT, [part, remote, str(size), digest], checking_s(size))
        if reply.code == _CHANGED:
            self._fail("a file arrived changed")
            raise DeviceLostError(f"phone {self.label}: {remote}: the file arrived changed")
        if reply.code != 0:
            raise PushRefused(f"phone {self.label}: {remote}: {one_line(reply.text)}")

    def reconnect(self) -> None:
        """Connect, or connect anew after a fault.

        Raises:
            DeviceLostError: the phone is not there.
            UserError: it is, but the user has to do something.
        """
        self._broken = None
        self._guarded(self._connect, "cannot connect")

    def close(self) -> None:
        """Release the link."""
        self._broken = "closed"
        self._close()

    def _guarded(self, action: Callable[[], T], meaning: str) -> T:
        """Do something on the link; whatever goes wrong breaks it, but for an answer in order."""
        if self._broken is not None:
            raise DeviceLostError(f"phone {self.label}: {self._broken}; reconnect first")
        try:
            return action()
        except PushRefused:
            raise
        except UserError as error:
            self._fail(str(error))
            raise
        except Exception as error:  # noqa: BLE001 - libraries of links raise whatever they like
            self._fail(meaning)
            reason = one_line(error)
            raise DeviceLostError(f"phone {self.label}: {meaning}: {reason}") from None
        except BaseException:  # Ctrl-C: the rest of the answer is still to come
            self._fail("interrupted")
            raise

    def _fail(self, meaning: str) -> None:
        self._broken = meaning
        self._close()


# Arguments: the file as pushed, its final name, size and hash. A name is given only to what
# arrived whole: a cut link leaves the other file behind, which is never used. Its time becomes
# that of the phone's clock, which orders what lies there.
_CHANGED = 3  # exit status
_ACCEPT = """
fail() { rm -f "$p"; echo "$1"; exit "${2:-1}"; }
p=$1
[ -f "$p" ] || { echo 'the file did not arrive'; exit 1; }
n=$(stat -c %s "$p")
[ "$n" = "$3" ] || fail "$n of $3 bytes arrived: is the disk full?"
h=$(sha256sum "$p")
[ "${h%% *}" = "$4" ] || fail 'the file arrived changed' 3
touch "$p"
mv -f "$p" "$2"
"""
