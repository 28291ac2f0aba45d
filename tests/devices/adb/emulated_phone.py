"""What is on the emulated phone: a folder with its files, its commands, and a benchmark program.

Commands are really run, by this machine's /bin/sh, with small scripts in place of Android's own.
``benchmark_model`` really measures, with LiteRT in this process, so that a run costs no start of
Python; it prints what TFLite's program prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter
from emulator import Daemon, Faults

from brpnas.devices.profile import AdbSettings, Profile, ThermalGate

# Android's own shell is mksh: name it here to test with it.
SHELL = os.environ.get("BRPNAS_TEST_SHELL", "/bin/sh")
PROPERTIES = {
    "ro.serialno": "EMU0001",
    "ro.product.model": "Emulated",
    "ro.build.fingerprint": "brand/emulated/1:14/AAA.1/1:user/release-keys",
    "ro.soc.model": "SM0000",
    "ro.product.cpu.abi": "arm64-v8a",
    "sys.boot_completed": "1",
}
SERVICES = {
    "battery": "  level: 80\n  temperature: 251",
    "thermalservice": "Thermal Status: 0",
    "power": "  mWakefulness=Awake",
    "window": "    showing=false",
}
_SCRIPTS = {
    "getprop": 'cat "$PHONE/properties/$1" 2>/dev/null; echo',
    "dumpsys": 'cat "$PHONE/services/$1" 2>/dev/null',
    "taskset": 'echo "$1" >>"$PHONE/masks"; shift; exec "$@"',
    "df": 'echo "Filesystem 1K-blocks Used Available Use% Mounted on"\n'
    'echo "/dev/block 1000000 1000 $(cat "$PHONE/free_kb") 1% /data"',
    "pm": '[ -f "$PHONE/base.apk" ] && echo "package:$PHONE/base.apk"',
    "am": '[ "$1" = start ] || exit 0\n[ -f "$PHONE/base.apk" ] || '
    '{ echo "Error type 3"; echo "Error: Activity class {$4} does not exist."; exit 0; }\n'
    'echo "Starting: Intent { cmp=$4 }"\n'
    '{ benchmark_model $7 2>&1 | sed "s#^INFO: #I/tflite  : #; s#^WARN: #W/tflite  : #; '
    's#^ERROR: #E/tflite  : #"; } >>"$PHONE/log" 2>/dev/null &',
    "log": 'echo "I/$2  : $3" >>"$PHONE/log"',
    "logcat": '[ "$1" = -c ] || exec cat "$PHONE/log"\n'
    '[ -e "$PHONE/keeps_log" ] && exit 1\n: >"$PHONE/log"',
}
_BENCHMARK = """#!/bin/sh
out="$PHONE/out.$$"
mkfifo "$out"
{ printf '%s' "$$"; printf '\\t%s' "$0" "$@"; echo; } >"$PHONE/requests"
{ read -r code; cat; } <"$out"
rm -f "$out"
exit "$code"
"""
_HELP = ("num_runs=50", "min_secs=1", "warmup_runs=1", "warmup_min_secs=0.5", "graph=")
_FLAGS = ("max_secs=150", "num_threads=-1", "help=false")


class EmulatedPhone:
    """A phone on a port of this machine.

    Args:
        root: an empty folder.

    Attributes:
        daemon: its adb daemon.
        benchmark: how its benchmark program behaves: ``ok``, ``hang``, ``garbage``, ``crash``
            (after the warm-up), ``partial`` (a delegate runs a part), ``nothing`` (none), ``short``
            (stops before its last run).
        delegates: flags that were compiled in.
        runs: the flags of every run.
        inference_s: seconds that the models ran.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.benchmark = "ok"
        self.delegates: set[str] = set()
        self.runs: list[list[str]] = []
        self.inference_s = 0.0
        for folder in ("bin", "tmp"):
            (root / folder).mkdir(parents=True)
        (root / "bin/sh").symlink_to(SHELL)
        for name, script in _SCRIPTS.items():
            self.write(f"bin/{name}", f"#!/bin/sh\n{script}\n", 0o755)
        self.write("bin/benchmark_model", _BENCHMARK, 0o755)
        for name, value in PROPERTIES.items():
            self.write(f"properties/{name}", value)
        for name, value in SERVICES.items():
            self.write(f"services/{name}", value + "\n")
        self.write("free_kb", "900000")
        self.write("log", "")
        os.mkfifo(root / "requests")
        # Both ends, so that the reader never sees the end of it.
        self._requests = os.open(root / "requests", os.O_RDWR)
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()
        self.daemon = Daemon(self._start)

    @property
    def faults(self) -> Faults:
        return self.daemon.faults

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.daemon.port}"

    @property
    def folder(self) -> Path:
        """Where its profile puts models."""
        return self.root / "tmp" / "models"

    @property
    def models(self) -> list[str]:
        """Names of the files in the folder of models, without the note whose it is."""
        return sorted(path.name for path in self.folder.glob("*") if path.name != "owner")

    def claim(self, seconds: int) -> Path:
        """Another machine measures on it for so long; return the file that says so."""
        self.folder.mkdir(exist_ok=True)
        note = self.folder / "owner"
        note.write_text(f"7@other {int(time.time()) + seconds} token\n")
        return note

    def limit_disk(self, size: int) -> None:
        """From now on, so many bytes are free, less what lies in the folder of models."""
        used = "$(cat tmp/models/*.tflite 2>/dev/null | wc -c)"
        free = f"echo x 9 9 $((({size} - {used}) / 1024)) 1% /"
        self.write("bin/df", f"#!/bin/sh\ncd $PHONE\n{free}\n", 0o755)

    def profile(self, **settings: Any) -> Profile:
        """A profile of this phone."""
        adb = AdbSettings(
            address=self.address,
            models=("Emulated",),
            binary=str(self.root / "bin/benchmark_model"),
            folder=str(self.folder),
        )
        return Profile(
            name="emulated",
            title="an emulated phone",
            kind="adb",
            cpu_mask="70",
            delegates={"cpu": (), "gpu": ("--use_gpu=true",)},
            adb=replace(adb, **settings),
            thermal=ThermalGate(40.0, 1.0),
        )

    def toml(self, path: Path, **keys: str) -> Path:
        """Write that profile as a user would."""
        profile = self.profile(**keys)
        assert profile.adb is not None
        settings = {"binary": profile.adb.binary, "folder": profile.adb.folder, **keys}
        lines = [f'{key} = "{value}"' for key, value in settings.items()]
        head = 'title = "an emulated phone"\nkind = "adb"\ncpu_mask = "70"\n'
        head += '[delegates]\ncpu = []\ngpu = ["--use_gpu=true"]\n[adb]\n'
        path.write_text(head + "\n".join([*lines, f'address = "{self.address}"', ""]))
        return path

    def write(self, name: str, content: str, mode: int = 0o644) -> None:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        path.chmod(mode)

    def close(self) -> None:
        self.daemon.close()
        os.write(self._requests, b"\n")
        self._thread.join(10)
        os.close(self._requests)

    async def _start(self, command: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            str(self.root / "bin/sh"),
            "-c",
            command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self.root,
            env={"PATH": f"{self.root}/bin:/usr/bin:/bin", "PHONE": str(self.root)},
            start_new_session=True,
        )

    def _answer(self) -> None:
        with os.fdopen(os.dup(self._requests), "r") as requests:
            for line in requests:
                if line == "\n":
                    return
                number, program, *flags = line.rstrip("\n").split("\t")
                self.runs.append(flags)
                if self.benchmark != "hang" or "--help" in flags:
                    code, text = self._benchmark(program, flags)
                    self._reply(self.root / f"out.{number}", f"{code}\n{text}")

    def _reply(self, path: Path, text: str) -> None:
        for _ in range(200):  # the program opens its end a moment later, or was killed meanwhile
            with contextlib.suppress(OSError):
                end = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                os.set_blocking(end, True)
                with os.fdopen(end, "w") as file:
                    file.write(text)
                return
            time.sleep(0.01)

    def _benchmark(self, program: str, flags: list[str]) -> tuple[int, str]:
        head = "INFO: STARTING!\nWARN: Duplicate flags: num_threads\n"
        if "--help" in flags:
            known = [*_HELP, *(f"{flag[2:]}=false" for flag in sorted(self.delegates)), *_FLAGS]
            table = "".join(f"\t--{flag}\tbool\toptional\tsome flag\n" for flag in known)
            text = f"ERROR: usage: {program} <flags>\nFlags:\n{table}\n"
            return 1, f"{head}{text}ERROR: Benchmarking failed.\n"
        if self.benchmark == "garbage":
            return 0, "\x00\x1b[31mcount=nonsense $(reboot) `id` \ufffd\n" * 20
        values = dict(flag.partition("=")[::2] for flag in flags)
        known_names = {f"--{flag.partition('=')[0]}" for flag in (*_HELP, *_FLAGS)}
        asked = [flag for flag in flags if flag.partition("=")[0] not in known_names]
        unknown = [flag for flag in asked if flag.partition("=")[0] not in self.delegates]
        if unknown:
            head += f"WARN: Unconsumed cmdline flags: {' '.join(unknown)}\n"
        elif asked:
            head += self._delegated()
        graph = values["--graph"].strip('"')
        try:
            interpreter = Interpreter(graph, num_threads=int(values["--num_threads"]))
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError):
            failed = f"ERROR: Failed to load model {graph}\nERROR: Benchmarking failed.\n"
            return 1, f"{head}ERROR: The model is not a valid Flatbuffer buffer\n{failed}"
        began = time.perf_counter()
        first, warm = self._stage(interpreter, int(values["--warmup_runs"]))
        text = f"{head}INFO: Loaded model {graph}\nINFO: Initialized session in 0.545ms.\n{warm}"
        if self.benchmark == "crash":
            return 139, text
        runs = int(values["--num_runs"]) - (self.benchmark == "short")
        mean, counted = self._stage(interpreter, runs)
        self.inference_s += time.perf_counter() - began
        text += counted
        text += f"INFO: Inference timings in us: Init: 545, First inference: {first:g}, "
        return 0, f"{text}Warmup (avg): {first:g}, Inference (avg): {mean:g}\n"

    def _delegated(self) -> str:
        if self.benchmark == "partial":
            return (
                "VERBOSE: Replacing 5 out of 7 node(s) with delegate (TfLiteGpuDelegateV2) node\n"
                "INFO: Explicitly applied GPU delegate, and the model graph will be partially "
                "executed by the delegate w/ 2 delegate kernels.\n"
            )
        if self.benchmark == "nothing":
            return "WARN: GPU acceleration is unsupported on this platform.\n"
        return (
            "INFO: Explicitly applied GPU delegate, and the model graph will be completely "
            "executed by the delegate.\n"
        )

    @staticmethod
    def _stage(interpreter: Any, runs: int) -> tuple[float, str]:
        """Run a model some times; return the mean in microseconds, and the lines about it."""
        times = []
        for _ in range(runs):
            before = time.perf_counter_ns()
            interpreter.invoke()
            times.append(max((time.perf_counter_ns() - before) // 1000, 1))
        head = f"INFO: Running benchmark for at least {runs} iterations and at least 0 seconds\n"
        if not times:
            return 0.0, f"{head}INFO: count=0\n\n"
        mean = statistics.fmean(times)
        if min(times) == max(times):
            same = "(all same)" if runs > 1 else ""
            return mean, f"{head}INFO: count={runs} curr={times[-1]}{same}\n\n"
        spread = (
            f"min={min(times)} max={max(times)} avg={mean:g} std={statistics.pstdev(times):.0f}"
        )
        return mean, f"{head}INFO: count={runs} first={times[0]} curr={times[-1]} {spread}\n\n"
