from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from brpnas.evaluate import trained, training
from brpnas.evaluate.evaluator import Evaluation
from brpnas.evaluate.images import Split, read_split
from brpnas.evaluate.trained import Training, TrainingEvaluator
from brpnas.evaluate.training import Protocol
from brpnas.executors import InProcess, Processes
from brpnas.spaces import Cell, NASBench201, NetworkShape

SPACE = NASBench201()
CELLS = SPACE.sample(3, np.random.default_rng(0))
PROTOCOL = Protocol(epochs=4, batch=8, learning_rate=0.05, crop=1, seeds=2)
NAMES = (
    "valid_acc_pct",
    "test_acc_pct",
    "valid_acc_pct_seed0",
    "valid_acc_pct_seed1",
    "test_acc_pct_seed0",
    "test_acc_pct_seed1",
    "params_m",
)


@pytest.fixture
def load(tmp_path: Path) -> Callable[[], Split]:
    rng = np.random.default_rng(0)
    for name, count in (("train", 48), ("test", 30)):
        y = rng.integers(0, 3, count)
        x = rng.integers(0, 120, (count, 6, 6, 1)) + 60 * y[:, None, None, None]
        np.savez(tmp_path / f"{name}.npz", x=x.astype(np.uint8), y=y)
    return partial(read_split, tmp_path / "train.npz", tmp_path / "test.npz", 0.25, 0)


@pytest.fixture
def recipe(tmp_path: Path, load: Callable[[], Split]) -> Training[Cell]:
    shape = NetworkShape(channels=3, cells_per_stage=1)
    return Training(SPACE, shape, PROTOCOL, load, "random", 7, tmp_path / "kept")


def evaluate(recipe: Training[Cell], cells: list[Cell] = CELLS) -> list[Evaluation]:
    evaluator = TrainingEvaluator(recipe, InProcess(retries=0), test=True)
    return list(evaluator.evaluate(cells))


def test_metrics_are_accuracies_of_every_seed_and_their_mean(recipe: Training[Cell]) -> None:
    assert TrainingEvaluator(recipe, InProcess(), test=True).metrics == NAMES
    for cell, evaluation in zip(CELLS, evaluate(recipe), strict=True):
        assert evaluation.error is None
        metrics = evaluation.metrics
        assert set(metrics) == set(NAMES)
        for part in ("valid", "test"):
            seeds = [metrics[f"{part}_acc_pct_seed{seed}"] for seed in range(2)]
            assert metrics[f"{part}_acc_pct"] == pytest.approx(np.mean(seeds))
            assert all(0 <= seed <= 100 for seed in seeds)
        alone = SPACE.build(cell, NetworkShape(3, 1, 3, 6, 1))
        assert metrics["params_m"] == sum(p.numel() for p in alone.parameters()) / 1e6
    # 12 validation and 30 test images: the parts are not mixed up
    assert (metrics["valid_acc_pct_seed0"] * 12 / 100) % 1 == pytest.approx(0, abs=1e-4)
    assert (metrics["test_acc_pct_seed0"] * 30 / 100) % 1 == pytest.approx(0, abs=1e-4)


def test_one_seed_without_test_images(recipe: Training[Cell], tmp_path: Path) -> None:
    plain = replace(
        recipe,
        protocol=replace(PROTOCOL, seeds=1),
        load=partial(read_split, tmp_path / "train.npz", None, 0.25, 0),
    )
    evaluator = TrainingEvaluator(plain, InProcess(retries=0), test=False)
    (evaluation,) = evaluator.evaluate(CELLS[:1])
    assert evaluator.metrics == ("valid_acc_pct", "params_m") == tuple(evaluation.metrics)


def test_processes_give_the_same_as_this_process(recipe: Training[Cell], tmp_path: Path) -> None:
    here = evaluate(recipe)
    with Processes(2) as executor:
        elsewhere = replace(recipe, folder=tmp_path / "elsewhere")
        evaluator = TrainingEvaluator(elsewhere, executor, test=True)
        assert list(evaluator.evaluate(CELLS)) == here
    for path in recipe.folder.iterdir():
        assert (elsewhere.folder / path.name).read_bytes() == path.read_bytes()


def test_nothing_is_trained_twice(recipe: Training[Cell], monkeypatch: pytest.MonkeyPatch) -> None:
    train = Mock(side_effect=training.train)
    monkeypatch.setattr(trained, "train", train)
    first = evaluate(recipe, CELLS[:2])
    assert train.call_count == 2
    assert evaluate(recipe, CELLS[:2]) == first
    assert train.call_count == 2
    for other in (
        replace(recipe, seed=8),
        replace(recipe, data="other images"),
        replace(recipe, protocol=replace(PROTOCOL, learning_rate=0.01)),
        replace(recipe, shape=NetworkShape(channels=4, cells_per_stage=1)),
    ):
        before = train.call_count
        evaluate(other, CELLS[:1])
        assert train.call_count == before + 1


def test_results_and_weights_are_kept(recipe: Training[Cell]) -> None:
    (evaluation,) = evaluate(recipe, CELLS[:1])
    files = {path.suffix: path for path in recipe.folder.iterdir()}
    assert set(files) == {".json", ".safetensors"}
    content = json.loads(files[".json"].read_text())
    assert content == {"arch": str(CELLS[0]), "metrics": evaluation.metrics}
    network = SPACE.build(CELLS[0], NetworkShape(3, 1, 3, 6, 1, replicas=2))
    network.load_state_dict(load_file(files[".safetensors"]))
    split = recipe.load()
    accuracies = training.accuracy_pct(network, split.valid, like=split.train)
    assert accuracies.mean() == evaluation.metrics["valid_acc_pct"]


def test_weights_need_not_be_kept(recipe: Training[Cell]) -> None:
    evaluate(replace(recipe, keep_weights=False), CELLS[:1])
    assert [path.suffix for path in recipe.folder.iterdir()] == [".json"]


def test_global_state_is_left_alone(recipe: Training[Cell]) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    evaluate(recipe, CELLS[:1])
    assert torch.equal(torch.rand(1), expected)
    assert torch.get_num_threads() == threads


def test_failing_training_is_missing_values_and_an_error(
    recipe: Training[Cell], tmp_path: Path
) -> None:
    broken = replace(recipe, load=partial(read_split, tmp_path / "gone.npz", None, 0.25, 0))
    for evaluation in evaluate(broken, CELLS[:2]):
        assert tuple(evaluation.metrics) == NAMES
        assert np.isnan(list(evaluation.metrics.values())).all()
        assert evaluation.error is not None
        assert "gone.npz: no such file" in evaluation.error
    assert list(recipe.folder.iterdir()) == []  # a failure is not kept
    assert evaluate(recipe, CELLS[:1])[0].error is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"metrics": 3}', '{"metrics": {"a": []}}']
)
def test_damaged_result_is_trained_again(recipe: Training[Cell], content: str) -> None:
    first = evaluate(recipe, CELLS[:1])
    (path,) = recipe.folder.glob("*.json")
    path.write_text(content)
    assert recipe(CELLS[0]) == first[0].metrics
    assert evaluate(recipe, CELLS[:1]) == first  # kept again


def test_checkpoint_is_removed_when_the_result_is_safe(
    recipe: Training[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brpnas.evaluate.training._SAVE_EVERY_S", -1.0)
    monkeypatch.setattr("brpnas.evaluate.trained.accuracy_pct", Mock(side_effect=MemoryError))
    with pytest.raises(MemoryError):
        recipe(CELLS[0])
    (checkpoint,) = recipe.folder.glob("*.ckpt")
    monkeypatch.undo()
    recipe(CELLS[0])
    assert not checkpoint.exists()


# What another process does: it stops for ever after the second epoch has been saved.
_TRAIN_AND_HANG = """
import sys, time
from functools import partial
from pathlib import Path
from brpnas.evaluate import training
from brpnas.evaluate.images import read_split
from brpnas.evaluate.trained import Training
from brpnas.evaluate.training import Protocol
from brpnas.spaces import NASBench201, NetworkShape

folder, text = Path(sys.argv[1]), sys.argv[2]
training._SAVE_EVERY_S = -1.0
save = training._TrainingState.save

def save_and_hang(state, path, epochs_done):
    save(state, path, epochs_done)
    if epochs_done == 2:
        (folder / "saved").touch()
        time.sleep(600)

training._TrainingState.save = save_and_hang
load = partial(read_split, folder / "train.npz", folder / "test.npz", 0.25, 0)
protocol = Protocol(epochs=4, batch=8, learning_rate=0.05, crop=1, seeds=2)
shape = NetworkShape(channels=3, cells_per_stage=1)
recipe = Training(NASBench201(), shape, protocol, load, "random", 7, folder / "kept")
recipe.folder.mkdir()
recipe(NASBench201().parse(text))
"""


def test_killed_in_the_middle_of_a_network_continues_to_the_equal_result(
    recipe: Training[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [sys.executable, "-c", _TRAIN_AND_HANG, str(tmp_path), str(CELLS[0])]
    process = subprocess.Popen(arguments)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "saved").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert [path.suffix for path in recipe.folder.iterdir()] == [".ckpt"]

    (undisturbed,) = evaluate(replace(recipe, folder=tmp_path / "undisturbed"), CELLS[:1])
    epochs = Mock(side_effect=training._epoch)
    monkeypatch.setattr(training, "_epoch", epochs)
    (continued,) = evaluate(recipe, CELLS[:1])
    assert epochs.call_count == 2  # of four
    assert continued == undisturbed
    for path in (tmp_path / "undisturbed").iterdir():  # weights too, to the last bit
        assert (recipe.folder / path.name).read_bytes() == path.read_bytes()
    assert len(list(recipe.folder.iterdir())) == 2
