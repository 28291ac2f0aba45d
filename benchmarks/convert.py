"""Compare the project's own TFLite writer with litert-torch: time to convert, and latency.

Run it where litert-torch is installed (``pip install '.[measure,convert]'``)::

    python benchmarks/convert.py --cells 12
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter

from brpnas.devices.tflite import TFLiteModel
from brpnas.devices.tflite.sources import SpaceModel
from brpnas.errors import UserError
from brpnas.spaces import NASBench201

ROUNDS, RUNS, WARMUP = 5, 10, 5


def convert(text: str, converter: str) -> tuple[TFLiteModel, float]:
    """Return the model and the CPU time of building and converting it, in ms."""
    start = time.process_time()
    model = SpaceModel(NASBench201(), text, converter=converter)()
    return model, (time.process_time() - start) * 1e3


def one_round(model: TFLiteModel) -> list[float]:
    """Return the thread CPU time of each run, in ms."""
    interpreter = Interpreter(model_content=model.content, num_threads=1)
    interpreter.allocate_tensors()
    for _ in range(WARMUP):
        interpreter.invoke()
    times = []
    for _ in range(RUNS):
        start = time.thread_time()
        interpreter.invoke()
        times.append((time.thread_time() - start) * 1e3)
    return times


def main() -> None:
    """Print one line per cell, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    space = NASBench201()
    rng = np.random.default_rng(options.seed)
    cells = [str(space.canonical(one)) for one in space.sample(options.cells, rng)]
    models: dict[tuple[str, str], TFLiteModel] = {}
    spent: dict[str, list[float]] = {"brpnas": [], "litert-torch": []}
    for text in cells:
        for converter, times in spent.items():
            try:
                models[text, converter], took = convert(text, converter)
            except UserError as error:
                print(f"{converter}: {error}")
                continue
            times.append(took)
    samples: dict[tuple[str, str], list[float]] = {key: [] for key in models}
    for _ in range(ROUNDS):
        for key in random.sample(list(models), len(models)):
            samples[key] += one_round(models[key])
    ratios = []
    for text in cells:
        if (text, "brpnas") in samples and (text, "litert-torch") in samples:
            own, other = (statistics.median(samples[text, name]) for name in spent)
            ratios.append(own / other)
            print(f"{own:7.3f} ms  {other:7.3f} ms  ratio {own / other:.3f}  {text}")
    for name, times in spent.items():
        if times:
            middle = statistics.median(times)
            print(f"{name}: {middle:.1f} ms to build and convert (median of {len(times)})")
    if ratios:
        middle = statistics.median(ratios)
        print(f"latency ratio: median {middle:.3f}, {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
