"""How good designs for FPGAs are, and how soon they are found, by each optimiser.

    python benchmarks/fpga_mapping.py FOLDER [--optimisers best rule] [--rows lenet] [--out FILE]

FOLDER holds the networks as ``<name>.onnx``; ResNet-18 and the convolutions of VGG-16 are made
here. Counted as the reference does (``reference_exact``), 16-bit words, sums of 30 bits, all of
each board's limits; LUTs and flip-flops with 5% on top. The reference's designs are the best that
fpgaConvNet's and SAMO's optimisers found, with their CPU time; it is the processor's here too.

Behind the table: designs of ResNet-18 that are judged a second, and, counted physically at the
clock of fpgaConvNet's own ResNet-8 on a real board and within its resources, what ours would take.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from brpnas.devices.fpga import read_platform
from brpnas.devices.fpga.from_onnx import read_onnx
from brpnas.devices.fpga.from_torch import network_of
from brpnas.devices.fpga.many import Jury
from brpnas.devices.fpga.mapping import OPTIMISERS, Brute
from brpnas.devices.fpga.network import Network
from brpnas.devices.fpga.partition import Segment
from brpnas.devices.fpga.problem import Problem
from brpnas.errors import UserError

BRUTE_S = 60.0
"""After so long it is stopped."""


@dataclass(frozen=True)
class Row:
    """What the reference reached: images per second, or with a batch of one seconds; CPU seconds.

    Attributes:
        network, board, batch: the task.
        best: None where the reference found nothing.
        cpu_s: of the reference.
    """

    network: str
    board: str
    batch: int
    best: float | None
    cpu_s: float


ROWS = [
    Row("lenet", "zc706", 256, 62701, 0.4),
    Row("lenet", "zcu104", 256, 62736, 3),
    Row("lenet", "zedboard", 256, 6661, 5),
    Row("lenet", "zc706", 1, 0.411e-3, 0.5),
    Row("mpcnn", "zc706", 256, 93664, 2),
    Row("resnet8", "zc706", 256, 10684, 1),
    Row("resnet8", "zcu104", 256, 19036, 2),
    Row("resnet8", "zc706", 1, 0.378e-3, 1),
    Row("resnet8", "zcu104", 1, 0.229e-3, 2),
    Row("resnet8", "zedboard", 1, 2.40e-3, 1),
    Row("cnv", "zc706", 256, 963, 59),
    Row("alexnet_conv", "zc706", 256, 68.6, 69),
    Row("resnet18", "zcu104", 256, 32.1, 122),
    Row("resnet18", "zc706", 256, 10.5, 83),
    Row("vgg16", "zc706", 256, 2.38, 128),
    Row("mobilenetv1", "zcu104", 256, None, 540),
]


@dataclass(frozen=True)
class Real:
    """fpgaConvNet's own ResNet-8 on a real board: its clock, what it takes, and its time."""

    board: str
    clock_mhz: float
    luts: int
    dsp: int
    bram: int
    seconds: float


REAL = [
    Real("zc706", 187, 108_000, 564, 281, 0.15e-3),
    Real("zedboard", 143, 47_000, 211, 93, 0.41e-3),
]


class Residual(nn.Module):
    """A basic block of He et al., "Deep Residual Learning for Image Recognition", CVPR 2016."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.relu = nn.ReLU()
        same = inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the next feature map."""
        out: Tensor = self.relu(self.second(self.relu(self.first(x))) + self.shortcut(x))
        return out


def resnet18() -> nn.Module:
    """ResNet-18 with its batch norms folded."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    width = 64
    for outputs in (64, 128, 256, 512):
        layers += [Residual(width, outputs, outputs // width), Residual(outputs, outputs, 1)]
        width = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


def vgg16() -> nn.Module:
    """The convolutions and pools of Simonyan and Zisserman's configuration D, ICLR 2015."""
    layers: list[nn.Module] = []
    width = 3
    for outputs, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(width, outputs, 3, padding=1), nn.ReLU()]
            width = outputs
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers)


MADE = {"resnet18": resnet18, "vgg16": vgg16}


def network(folder: Path, name: str) -> Network:
    """Return a network that is made here, or of a file."""
    if name not in MADE:
        return read_onnx(folder / f"{name}.onnx")
    with torch.device("meta"):
        return network_of(MADE[name](), torch.zeros(1, 3, 224, 224), name)


def mapped(problem: Problem, optimiser: str) -> dict[str, object]:
    """Return what an optimiser finds, and the CPU seconds that it takes."""
    start = time.process_time()
    try:
        mapper = Brute(BRUTE_S) if optimiser == "brute" else OPTIMISERS[optimiser]()
        design = mapper.map(problem)
    except UserError as error:
        return {"optimiser": optimiser, "error": str(error), "cpu_s": time.process_time() - start}
    cpu_s = time.process_time() - start
    return {
        "optimiser": optimiser,
        "seconds": design.seconds,
        "fps": design.frames_per_second,
        "parts": len(design.parts),
        "interval_cycles": max(part.costs.interval for part in design.parts),
        "resources": np.max([part.costs.resources for part in design.parts], axis=0).tolist(),
        "feasible": design.fits,
        "proven": design.proven,
        "cpu_s": cpu_s,
    }


def compared(row: Row, found: dict[str, object]) -> dict[str, object]:
    """Return a result beside the reference's; a ratio above 1 is in our favour."""
    entry: dict[str, object] = {**asdict(row), "reference_cpu_s": row.cpu_s, **found}
    name = f"{row.network} on {row.board}, batch {row.batch}"
    start = f"{name:38} {found['optimiser']!s:10}"
    if "error" in found:
        print(f"{start} nothing: {found['error']}")
        return entry
    seconds, fps = float(str(found["seconds"])), float(str(found["fps"]))
    if row.best:
        entry["ratio"] = row.best / seconds if row.batch == 1 else fps / row.best
    ours, theirs = (seconds * 1e3, (row.best or 0) * 1e3) if row.batch == 1 else (fps, row.best)
    unit = "ms " if row.batch == 1 else "fps"
    print(
        f"{start} {ours:10.5g} {unit} of {theirs or 0:8.5g} x {entry.get('ratio', 0):5.2f} "
        f"{found['parts']:3} parts {'fits' if found['feasible'] else 'TOO LARGE'}"
        f"{' proven' if found['proven'] else ''} "
        f"{found['cpu_s']:7.2f} s of {row.cpu_s:g} s",
        flush=True,
    )
    return entry


def judged_per_second(problem: Problem, designs: int = 20_000) -> float:
    """Return the designs of a whole network, as one part, that one CPU-second judges."""
    segment = Segment(problem, 0, len(problem.network.nodes))
    rng = np.random.default_rng(0)
    choices = np.stack([rng.integers(0, len(ways), designs) for ways in segment.ways], axis=1)
    start = time.process_time()
    Jury(segment).judge(choices)
    return designs / (time.process_time() - start)


def as_real(folder: Path, real: Real, optimiser: str) -> dict[str, object]:
    """Return our ResNet-8 at a real design's clock and within what it takes, counted physically."""
    board = read_platform(real.board)
    resources = {**board.resources, "LUT": real.luts, "DSP": real.dsp, "BRAM": real.bram}
    platform = replace(board, resources=resources, clock_mhz=real.clock_mhz)
    found = mapped(Problem(network(folder, "resnet8"), platform, batch=1), optimiser)
    ours = f"{float(str(found['seconds'])) * 1e3:.4g} ms" if "seconds" in found else found["error"]
    print(
        f"resnet8 on {real.board} at {real.clock_mhz:g} MHz, {real.luts} LUT, {real.dsp} DSP, "
        f"{real.bram} BRAM: {ours}; the real design: {real.seconds * 1e3:.4g} ms"
    )
    return {**asdict(real), "measured_s": real.seconds, **found}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each row and optimiser."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of <name>.onnx")
    parser.add_argument("--optimisers", nargs="+", choices=list(OPTIMISERS), default=["best"])
    parser.add_argument("--rows", nargs="+", help="names of networks; all of them if left out")
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    rows = [row for row in ROWS if options.rows is None or row.network in options.rows]
    results: dict[str, object] = {}
    entries: list[dict[str, object]] = []
    results["rows"] = entries
    for row in rows:
        shape = network(options.folder, row.network)
        for optimiser in options.optimisers:
            problem = Problem(
                shape, read_platform(row.board), batch=row.batch, reference_exact=True
            )
            entries.append(compared(row, mapped(problem, optimiser)))
    if options.rows is None:
        speed = {}
        for exact in (True, False):
            problem = Problem(
                network(options.folder, "resnet18"), read_platform("zcu104"), reference_exact=exact
            )
            speed["reference_exact" if exact else "physical"] = rate = judged_per_second(problem)
            how = "reference-exact" if exact else "physical"
            print(f"resnet18, {how}: {rate:,.0f} designs judged a CPU-second")
        results["designs_per_s"] = speed
        results["real"] = [
            as_real(options.folder, real, optimiser)
            for real in REAL
            for optimiser in options.optimisers
        ]
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
