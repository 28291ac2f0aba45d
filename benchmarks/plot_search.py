"""Draw what benchmarks/search.py measured.

python benchmarks/plot_search.py search.json --out docs/images/search.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

_COLOURS = {  # Okabe & Ito's, told apart by colour-blind readers too
    "brp": "#D55E00",
    "local": "#0072B2",
    "evolution": "#009E73",
    "reinforce": "#CC79A7",
    "random": "#777777",
}


def main() -> None:
    """Read the results and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    result = json.loads(options.results.read_text())
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for name, colour in _COLOURS.items():
        if name in result["strategies"]:
            curve = np.array(result["strategies"][name]["curve of test of best by validation"])
            axes.plot(np.arange(1, len(curve) + 1), curve, color=colour, label=name, linewidth=2)
    seeds = next(iter(result["strategies"].values()))["seeds"]
    axes.set_xlabel("networks evaluated")
    axes.set_ylabel("test accuracy of the best by validation (%)")
    axes.set_title(f"NAS-Bench-201, CIFAR-100, mean of {seeds} seeds", loc="left")
    axes.set_ylim(bottom=69)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=120)


if __name__ == "__main__":
    main()
