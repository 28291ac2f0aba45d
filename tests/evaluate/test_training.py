from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brpnas.evaluate import training
from brpnas.evaluate.images import Images, Split
from brpnas.evaluate.training import Protocol, accuracy_pct, train
from brpnas.spaces import NASBench201, NetworkShape

SPACE = NASBench201()
CELL = SPACE.parse(
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|none~0|avg_pool_3x3~1|skip_connect~2|"
)
PROTOCOL = Protocol(epochs=4, batch=8, learning_rate=0.05, crop=1)


def images(count: int, seed: int) -> Images:
    rng = np.random.default_rng(seed)
    return Images(rng.integers(0, 256, (count, 6, 6, 2), np.uint8), rng.integers(0, 3, count))


SPLIT = Split(images(44, 0), images(20, 1))


def network(replicas: int = 1, seed: int = 0, channels: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return SPACE.build(CELL, NetworkShape(channels, 1, 3, 6, 2, replicas))


def weights(trained: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trained.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@functools.cache
def undisturbed() -> dict[str, Tensor]:
    trained = network()
    train(trained, SPLIT, PROTOCOL, seed=5)
    return weights(trained)


def part(value: Tensor, replica: int) -> Tensor:
    return value if value.ndim == 0 else value.chunk(3)[replica]


def test_replicas_are_trained_as_if_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    together = network(replicas=3)
    initial = weights(together)
    protocol = Protocol(epochs=2, batch=8, learning_rate=0.05, crop=1, seeds=3)
    train(together, SPLIT, protocol, seed=5)

    original = training._epoch
    for replica in range(3):

        def one_of_three(*arguments: Any, column: int = replica) -> Iterator[tuple[Tensor, ...]]:
            count, batch, steps, _, generator = arguments
            for rows, shifts, flips in original(count, batch, steps, protocol, generator):
                only = slice(column, column + 1)
                yield rows[:, only], shifts[:, :, only], flips[:, only]

        monkeypatch.setattr(training, "_epoch", one_of_three)
        alone = network()
        alone.load_state_dict({name: part(value, replica) for name, value in initial.items()})
        train(alone, SPLIT, Protocol(**{**vars(protocol), "seeds": 1}), seed=5)
        for name, value in alone.state_dict().items():
            expected = part(together.state_dict()[name], replica)
            torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-4)
            if value.ndim > 1:
                assert not torch.allclose(value, part(initial[name], replica), atol=1e-3)


def test_each_replica_sees_every_image_once_in_its_own_order() -> None:
    generator = torch.Generator().manual_seed(0)
    protocol = Protocol(crop=2, seeds=3)
    batches = list(training._epoch(40, 8, 5, protocol, generator))
    rows = torch.cat([rows for rows, _, _ in batches])
    assert rows.shape == (40, 3)
    assert rows.sort(dim=0).values.tolist() == [[row] * 3 for row in range(40)]
    assert not torch.equal(rows[:, 0], rows[:, 1])
    shifts = torch.cat([shifts for _, shifts, _ in batches], dim=1)
    assert sorted(set(shifts.flatten().tolist())) == [0, 1, 2, 3, 4]  # from -2 to 2
    flips = torch.cat([flips for _, _, flips in batches])
    assert 0.3 < flips.float().mean() < 0.7
    unflipped = training._epoch(40, 8, 5, Protocol(flip=False), generator)
    assert not any(flips.any() for _, _, flips in unflipped)


def test_seed_decides() -> None:
    again, other = network(), network()
    train(again, SPLIT, PROTOCOL, seed=5)
    train(other, SPLIT, PROTOCOL, seed=6)
    assert equal(weights(again), undisturbed())
    assert not equal(weights(other), undisturbed())
    assert not again.training


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    small = Split(images(5, 2), images(5, 3))
    trained = network()
    before = weights(trained)
    train(trained, small, Protocol(epochs=1, batch=64), seed=0)
    assert not torch.equal(trained.state_dict()["classifier.weight"], before["classifier.weight"])


# Continuing


class _StopError(Exception):
    pass


def _interrupt_in_epoch(epoch: int) -> Callable[..., Iterator[Any]]:
    """Stand in for ``_epoch``; stop in the middle of the given one (counted from 1)."""
    original, epochs = training._epoch, iter(range(1, 100))

    def stopping(*arguments: Any) -> Iterator[Any]:
        now = next(epochs)
        for step, batch in enumerate(original(*arguments)):
            if now == epoch and step == 2:
                raise _StopError
            yield batch

    return stopping


@pytest.mark.parametrize("epoch", [2, 3, 4])
def test_continues_to_exactly_equal_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    checkpoint = tmp_path / "a.ckpt"
    monkeypatch.setattr(training, "_SAVE_EVERY_S", -1.0)
    with monkeypatch.context() as patch:
        patch.setattr(training, "_epoch", _interrupt_in_epoch(epoch))
        with pytest.raises(_StopError):
            train(network(), SPLIT, PROTOCOL, 5, checkpoint)
    assert checkpoint.exists()

    epochs = Mock(side_effect=training._epoch)
    monkeypatch.setattr(training, "_epoch", epochs)
    trained = network(seed=99)  # the checkpoint's weights count, not these
    train(trained, SPLIT, PROTOCOL, 5, checkpoint)
    assert epochs.call_count == PROTOCOL.epochs - (epoch - 1)
    assert equal(weights(trained), undisturbed())
    assert list(tmp_path.iterdir()) == [checkpoint]  # the caller removes it


def _checkpoint(path: Path, monkeypatch: pytest.MonkeyPatch, channels: int = 3) -> bytes:
    with monkeypatch.context() as patch:
        patch.setattr(training, "_SAVE_EVERY_S", -1.0)
        patch.setattr(training, "_epoch", _interrupt_in_epoch(3))
        with pytest.raises(_StopError):
            train(network(channels=channels), SPLIT, PROTOCOL, 5, path)
    return path.read_bytes()


def test_unusable_checkpoint_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.ckpt"
    whole = _checkpoint(path, monkeypatch)
    state = torch.load(path, weights_only=True)

    def written(content: object) -> bytes:
        torch.save(content, path)
        return path.read_bytes()

    unusable = [
        b"",
        b"nonsense",
        whole[: len(whole) // 2],
        whole[:-1],
        bytes(len(whole)),
        written([1, 2]),
        written({}),
        *(written({k: v for k, v in state.items() if k != name}) for name in state),
        written({**state, "epochs_done": None}),
        written({**state, "generator": torch.zeros(3)}),
        # Of another width: what fits, such as counters, must not be taken over either.
        _checkpoint(path, monkeypatch, channels=4),
    ]
    for content in unusable:
        path.write_bytes(content)
        trained = network()
        train(trained, SPLIT, PROTOCOL, 5, path)
        assert equal(weights(trained), undisturbed()), content[:40]


def test_malicious_checkpoint_does_not_run(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"network": Malicious()}, tmp_path / "a.ckpt")
    trained = network()
    train(trained, SPLIT, PROTOCOL, 5, tmp_path / "a.ckpt")
    assert not (tmp_path / "ran").exists()
    assert equal(weights(trained), undisturbed())


# Images


def _shown(shift: tuple[int, int], *, flip: bool, crop: int = 1) -> list[list[float]]:
    """The image 1 2 3 / 4 5 6 / 7 8 9 as the network sees it, undone its normalisation."""
    x = np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3, 1)
    pixels = training._Pixels(Images(x, np.array([0])), Images(x, np.array([0])))
    batch = pixels.batch(
        torch.tensor([[0]]),
        torch.tensor(shift).reshape(2, 1, 1) + crop,
        torch.tensor([[flip]]),
        crop,
    )
    assert batch.shape == (1, 1, 3, 3)
    shown = batch[0, 0].double() * x.std() + x.mean()
    return [[round(value, 3) for value in row] for row in shown.tolist()]


def test_image_is_shown_as_it_is() -> None:
    assert _shown((0, 0), flip=False) == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_crop_shifts_and_pads_with_the_mean() -> None:
    assert _shown((1, 0), flip=False) == [[4, 5, 6], [7, 8, 9], [5, 5, 5]]
    assert _shown((-1, 0), flip=False) == [[5, 5, 5], [1, 2, 3], [4, 5, 6]]
    assert _shown((0, 1), flip=False) == [[2, 3, 5], [5, 6, 5], [8, 9, 5]]
    assert _shown((-1, -1), flip=False) == [[5, 5, 5], [5, 1, 2], [5, 4, 5]]
    assert _shown((2, 0), flip=False, crop=2) == [[7, 8, 9], [5, 5, 5], [5, 5, 5]]


def test_flip_mirrors_left_and_right() -> None:
    assert _shown((0, 0), flip=True) == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]
    assert _shown((1, 0), flip=True) == [[6, 5, 4], [9, 8, 7], [5, 5, 5]]


def test_replicas_get_images_of_their_own_in_neighbouring_channels() -> None:
    data = images(4, 0)
    pixels = training._Pixels(data, data)
    rows = torch.tensor([[2, 0, 1]])
    still = torch.zeros(2, 1, 3, dtype=torch.long)
    batch = pixels.batch(rows, still, torch.zeros(1, 3, dtype=torch.bool), 0)
    expected = torch.cat([pixels.x[row].permute(2, 0, 1) for row in (2, 0, 1)])
    assert torch.equal(batch[0], expected)  # (replicas * channels, size, size)


def test_normalisation_is_that_of_the_training_images() -> None:
    data = images(30, 0)
    normalised = training._Pixels(data, data).x
    assert normalised.mean((0, 1, 2)).tolist() == pytest.approx([0, 0], abs=1e-5)
    assert normalised.std((0, 1, 2), correction=0).tolist() == pytest.approx([1, 1], abs=1e-5)
    other = training._Pixels(images(3, 1), data).x
    mean, std = data.x.mean((0, 1, 2)), data.x.std((0, 1, 2))
    np.testing.assert_allclose(other, (images(3, 1).x - mean) / std, atol=1e-4)
    flat = Images(np.full((2, 4, 4, 1), 7, np.uint8), np.array([0, 1]))
    assert training._Pixels(flat, flat).x.abs().max() == 0  # not a division by zero


# Judging


class _Brightest(nn.Module):
    """Two replicas: the first guesses the channel that is brightest, the second always class 1."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 4, 1, groups=2, bias=False)
        nn.init.zeros_(self.stem.weight)

    def forward(self, x: Tensor) -> Tensor:
        light = x.mean((2, 3))[:, :2]
        fixed = torch.tensor([0.0, 1.0]).expand(len(x), 2)
        return torch.stack([light + self.stem(x).mean(), fixed], dim=1)


def test_accuracy_by_hand() -> None:
    bright = np.array([0, 1, 1, 0])
    x = np.zeros((4, 4, 4, 2), np.uint8)
    x[np.arange(4), :, :, bright] = 200
    data = Images(x, np.array([0, 1, 0, 0]))  # the third is wrong; one of four shows class 1
    judged = _Brightest().train()
    assert accuracy_pct(judged, data, like=data).tolist() == [75.0, 25.0]
    assert not judged.training


def test_accuracy_of_many_batches_counts_every_image(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = network(replicas=2)
    once = accuracy_pct(trained, SPLIT.train, like=SPLIT.train)
    monkeypatch.setattr(training, "_EVALUATION_BATCH", 7)
    assert accuracy_pct(trained, SPLIT.train, like=SPLIT.train).tolist() == once.tolist()


def test_norms_hold_the_statistics_of_the_training_images() -> None:
    trained = network()
    train(trained, SPLIT, PROTOCOL, seed=5)
    stem, norm = list(trained.modules())[2:4]
    assert isinstance(norm, nn.BatchNorm2d)
    x = training._Pixels(SPLIT.train, SPLIT.train).x.permute(0, 3, 1, 2)
    with torch.no_grad():
        made = stem(x)
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, made.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert norm.momentum == 0.1


def test_training_learns() -> None:
    """Bright or dark: easy enough to be sure of."""
    y = np.arange(64) % 2
    noise = np.random.default_rng(0).integers(0, 100, (64, 6, 6, 2))
    easy = Images((noise + 120 * y[:, None, None, None]).astype(np.uint8), y)
    trained = network(replicas=2)
    train(trained, Split(easy, easy), Protocol(epochs=6, batch=8, crop=1, seeds=2), seed=0)
    assert accuracy_pct(trained, easy, like=easy).min() > 95


def test_a_training_that_diverges_fails() -> None:
    with pytest.raises(FloatingPointError, match="diverged"):
        train(network(), SPLIT, Protocol(epochs=2, batch=8, learning_rate=1e30), seed=0)


def test_statistics_do_not_hang_on_a_small_last_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_EVALUATION_BATCH", 43)  # of 44 images: 43 and 1
    trained = network()
    train(trained, SPLIT, PROTOCOL, seed=5)
    stem, norm = list(trained.modules())[2:4]
    assert isinstance(norm, nn.BatchNorm2d)
    x = training._Pixels(SPLIT.train, SPLIT.train).x[:43].permute(0, 3, 1, 2)
    with torch.no_grad():
        made = stem(x)
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, made.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
