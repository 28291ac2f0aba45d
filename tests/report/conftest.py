from __future__ import annotations

import base64
import contextlib
import fcntl
import gzip
import hashlib
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

_SECONDS = 30.0
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Page(HTMLParser):
    """Tags, cells of table rows, and all text of a page; minus signs are those of a keyboard."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._cell = False
        self.feed(path.read_text(encoding="utf-8"))

    @property
    def links(self) -> list[str]:
        """All that the page would load or lead to."""
        return [
            str(value)
            for _, attributes in self.tags
            for name, value in attributes.items()
            if name in ("src", "href")
        ]

    @property
    def figures(self) -> list[dict[str, Any]]:
        """What plotly draws."""
        (text,) = (text for attributes, text in self.scripts if attributes.get("id") == "figures")
        return list(json.loads(text))

    def check_scripts(self) -> None:
        """Check that nothing runs but the page's own script and plotly, which the policy names."""
        (policy,) = (a["content"] for tag, a in self.tags if tag == "meta" and "content" in a
                     and str(a["content"]).startswith("default-src 'none'"))  # fmt: skip
        runs = [text for attributes, text in self.scripts if "type" not in attributes]
        (own,) = runs
        assert own == files("brpnas.report").joinpath("report.js").read_text()
        (packed,) = (text for attributes, text in self.scripts if attributes.get("id") == "plotly")
        plotly = gzip.decompress(base64.b64decode(packed))
        assert plotly == files("plotly").joinpath("package_data/plotly.min.js").read_bytes()
        hashes = [
            f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"
            for text in (plotly, own.encode())
        ]
        assert str(policy).endswith(f"; script-src {hashes[0]} {hashes[1]}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True
        elif tag == "br" and self._cell:
            self.rows[-1][-1] += " "

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and self.cdata_elem == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
            return
        data = data.replace("\N{MINUS SIGN}", "-")
        self.text += data
        if self._cell:
            self.rows[-1][-1] += data


@pytest.fixture
def read_page() -> Callable[[Path], Page]:
    """Parse the page in a file."""
    return Page


class Tab:
    """A tab of a headless Chromium, driven over two pipes with its DevTools protocol.

    Attributes:
        complaints: what the console and the security policy complained of, and every request.
    """

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._number = 0
        self._rest = b""
        self._session: dict[str, str] = {}
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._number += 1
        said = {"id": self._number, "method": method, "params": parameters, **self._session}
        os.write(self._write, json.dumps(said).encode() + b"\0")
        end = time.monotonic() + _SECONDS
        while True:
            message = self._next(end)
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message['error']}"
                return dict(message["result"])
            self._note(message)

    def open(self, page: Path, width: int = 1200, *, dark: bool = False) -> None:
        """Open a page and wait until its plots are drawn."""
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.look(dark=dark)
        self.complaints.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.wait("document.readyState === 'complete' && document.body !== null")
        self.wait(
            "!document.querySelector('.plot') || document.documentElement.dataset.drawn === 'yes'"
        )

    def look(self, *, dark: bool) -> None:
        """Prefer dark or light pages."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        given = {"expression": script, "returnByValue": True, "awaitPromise": True}
        done = self.call("Runtime.evaluate", **given, userGesture=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + _SECONDS
        while not self.run(f"Boolean({script})"):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.05)

    def point_at(self, x: float, y: float) -> None:
        """Move the mouse to a place in the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x: float, y: float) -> None:
        """Click at a place in the window."""
        self.point_at(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            where = {"x": x, "y": y, "button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, **where)

    def press(self, key: str, code: int) -> None:
        """Press a key, such as ``Enter``, 13."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            named = {"key": key, "code": key, "windowsVirtualKeyCode": code}
            self.call("Input.dispatchKeyEvent", type=kind, **named, **text)

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            content = os.read(self._read, 1 << 20)
            assert content, "the browser has ended"
            self._rest += content
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def _note(self, message: dict[str, Any]) -> None:
        said = message.get("params", {})
        if message.get("method") == "Log.entryAdded":
            self.complaints.append(said["entry"]["text"])
        elif message.get("method") == "Runtime.consoleAPICalled" and said["type"] != "log":
            self.complaints.append(str(said["args"]))
        elif message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(said["exceptionDetails"]))
        elif message.get("method") == "Network.requestWillBeSent":
            url = said["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:", "about:")):
                self.complaints.append(f"request of {url}")


@contextlib.contextmanager
def _browser(program: str, folder: Path) -> Iterator[Tab]:
    """Start a Chromium that keeps its files in a folder; it ends with the pipes."""
    ours_in, theirs_out = os.pipe()
    theirs_in, ours_out = os.pipe()
    # Out of the way of 3 and 4, where the browser wants them.
    theirs = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (theirs_in, theirs_out)]
    os.close(theirs_in)
    os.close(theirs_out)
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    quiet = ("--no-first-run", "--disable-extensions", "--disable-background-networking")
    process = os.posix_spawn(
        program,
        [program, *options, *quiet, f"--user-data-dir={folder}", "--remote-debugging-pipe"],
        {**os.environ, "HOME": str(folder)},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, theirs[0], 3),
            (os.POSIX_SPAWN_DUP2, theirs[1], 4),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
        setpgroup=0,
    )
    for end in theirs:
        os.close(end)
    try:
        yield Tab(ours_in, ours_out)
    finally:
        os.close(ours_out)
        os.close(ours_in)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)


@pytest.fixture(scope="session")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A browser's tab; skips where there is no browser."""
    program = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if program is None:
        pytest.skip(
            f"no browser: none of {', '.join(_BROWSERS)} is on the PATH; "
            "on Debian `apt install chromium`, elsewhere https://www.chromium.org/getting-involved/"
            "download-chromium"
        )
    with _browser(program, tmp_path_factory.mktemp("browser")) as tab:
        yield tab
