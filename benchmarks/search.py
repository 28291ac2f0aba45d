r"""How good and how fast the search strategies are, over many seeds.

    python benchmarks/search.py TABLE.parquet --seeds 100 --out search.json

searches NAS-Bench-201 by the validation accuracy of one data set and reports the test accuracy
of the network that is best by validation so far, the best test accuracy among those tried, and
when the best network of the whole pool is found; means with standard errors. Within a limit:

    python benchmarks/search.py TABLE.parquet --strategies brp --budget 150 --seeds 20 \
        --limit latency_ms_latbench_sd855_gpu_int8

NAS-Bench-101, by single runs, without a test accuracy:

    python benchmarks/search.py TABLE.parquet --space nasbench101 --accuracy val_acc_108 \
        --report val_acc_108 --strategies brp --budget 150 --seeds 20
"""

from __future__ import annotations

import argparse
import functools
import json
import resource
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brpnas.datasets import open_table
from brpnas.executors import Processes
from brpnas.predictors import PREDICTORS
from brpnas.resolver import SPACES, make_strategy
from brpnas.search import (
    STRATEGIES,
    BRPSchedule,
    Candidate,
    Constraint,
    Observation,
    Problem,
    Strategy,
)
from brpnas.sources import table_source


@dataclass(frozen=True)
class Settings:
    """What is searched, and how."""

    table: str
    space: str
    accuracy: str
    report: str
    budget: int
    predictor: str
    iterations: int
    limit: Constraint | None
    quantile: float


@functools.cache
def _problem(settings: Settings) -> tuple[Problem[Any], dict[str, np.ndarray]]:
    space, table = SPACES[settings.space](), open_table(settings.table)
    limits = [settings.limit] if settings.limit else []
    source = table_source(table, space, (settings.accuracy, settings.report), limits)
    return Problem(space, source.pool, settings.accuracy, limits), source.known


def _strategy(settings: Settings, name: str, seed: int) -> Strategy[Any]:
    schedule = BRPSchedule(settings.budget, iterations=settings.iterations)
    problem, _ = _problem(settings)
    return make_strategy(
        name, problem, seed, schedule, settings.predictor, quantile=settings.quantile
    )


def run(settings: Settings, job: tuple[str, int]) -> dict[str, Any]:
    """Run one search; return accuracies in the order of evaluation, and what it took.

    The validation accuracy of a network beyond the limit is NaN: it cannot be the answer.
    """
    name, seed = job
    problem, known = _problem(settings)
    before = time.perf_counter()
    strategy = _strategy(settings, name, seed)
    metrics = [limit.metric for limit in problem.constraints]
    places: list[int] = []
    valid: list[float] = []
    while len(places) < settings.budget:
        asked: list[Candidate[Any]] = strategy.ask(settings.budget - len(places))
        if not asked:
            raise SystemExit(f"the budget of {settings.budget} exceeds the table")
        new = [problem.index(candidate.arch) for candidate in asked]
        seen = [
            Observation(
                problem.pool[place],
                float(known[settings.accuracy][place]),
                {metric: float(known[metric][place]) for metric in metrics},
            )
            for place in new
        ]
        strategy.tell(seen)
        places += new
        valid += [one.objective if problem.feasible(one) else np.nan for one in seen]
    return {
        "strategy": name,
        "seed": seed,
        "valid": valid,
        "test": known[settings.report][places].tolist(),
        "wall_s": time.perf_counter() - before,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def summarise(runs: list[dict[str, Any]], best_valid: float) -> dict[str, Any]:
    """Return means and standard errors over the seeds."""
    valid, test = (np.array([run[key] for run in runs]) for key in ("valid", "test"))
    chosen, tried = _best_so_far(valid, test), np.maximum.accumulate(test, 1)
    summary: dict[str, Any] = {"seeds": len(runs)}
    for count in (25, 50, 75, 100, 150):
        if count <= valid.shape[1]:
            summary[f"test of best by validation at {count}"] = _mean(chosen[:, count - 1])
            summary[f"best test tried at {count}"] = _mean(tried[:, count - 1])
    reached = np.fmax.accumulate(valid, 1)[:, -1]
    summary["best by validation, below the best of all"] = _mean(best_valid - reached)
    summary["within the limit"] = float(np.isfinite(valid).mean())
    hits = valid >= best_valid
    summary["found"] = float(hits.any(1).mean())
    # The median over all seeds; unknown where fewer than half of them find it.
    median = float(np.median(np.where(hits.any(1), hits.argmax(1) + 1.0, np.inf)))
    summary["evaluations until found, median"] = median if np.isfinite(median) else None
    for key in ("wall_s", "peak_gb"):
        summary[key] = float(np.median([run[key] for run in runs]))
    summary["curve of test of best by validation"] = chosen.mean(0).tolist()
    return summary


def _best_so_far(valid: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Test accuracy of the network that is best by validation after each evaluation."""
    valid = np.nan_to_num(valid, nan=-np.inf)
    best = np.zeros(len(valid), dtype=int)
    curve = np.empty_like(test)
    rows = np.arange(len(valid))
    for step in range(valid.shape[1]):
        best = np.where(valid[:, step] > valid[rows, best], step, best)
        curve[:, step] = test[rows, best]
    return curve


def _mean(values: np.ndarray) -> dict[str, float | None]:
    spread = float(values.std(ddof=1)) if len(values) > 1 else None
    return {
        "mean": float(values.mean()),
        "error": spread / len(values) ** 0.5 if spread is not None else None,
        "std": spread,
        "lowest": float(values.min()),
    }


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("table")
    parser.add_argument("--accuracy", default="cifar100_valid_acc_200ep")
    parser.add_argument("--report", default="cifar100_test_acc_200ep")
    parser.add_argument("--space", default="nasbench201", choices=SPACES)
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=STRATEGIES)
    parser.add_argument("--predictor", default="gcn", choices=PREDICTORS)
    parser.add_argument("--iterations", type=int, default=BRPSchedule(100).iterations)
    parser.add_argument("--limit", metavar="COLUMN", help="keep it below its median")
    parser.add_argument("--limit-quantile", type=float, default=0.5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    limit = None
    if options.limit:
        costs = open_table(options.table).metric(options.limit)
        limit = Constraint(options.limit, float(np.nanmedian(costs)))
    settings = Settings(
        options.table,
        options.space,
        options.accuracy,
        options.report,
        options.budget,
        options.predictor,
        options.iterations,
        limit,
        options.limit_quantile,
    )
    jobs = [(name, seed) for name in options.strategies for seed in range(options.seeds)]
    runs = []
    with Processes(options.jobs) as executor:
        for outcome in executor.run(functools.partial(run, settings), jobs):
            if outcome.value is None:
                raise SystemExit(outcome.error)
            runs.append(outcome.value)
    problem, known = _problem(settings)
    possible = known[settings.accuracy].copy()
    for limit in problem.constraints:
        possible[~(known[limit.metric] <= limit.limit)] = np.nan
    best = float(np.nanmax(possible))
    summaries = {
        name: summarise([run for run in runs if run["strategy"] == name], best)
        for name in options.strategies
    }
    result = {
        "settings": asdict(settings),
        "pool": len(problem.pool),
        "best by validation": best,
        "strategies": summaries,
    }
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
