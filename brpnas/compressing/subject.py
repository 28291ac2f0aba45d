"""What is compressed: a trained network, its images, and the space of its low-rank versions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from brpnas.errors import UserError
from brpnas.evaluate.digits_cnn import digits_image_sets
from brpnas.images import ImageSet, Normalisation, parse_normalisation
from brpnas.lowrank import (
    METHODS,
    Cache,
    Factors,
    Layers,
    Moment,
    cached_moments,
    content_hash,
    find_layers,
    gather_moments,
    model_hash,
    replace,
)
from brpnas.lowrank.counting import count_macs
from brpnas.lowrank.flow import find_flow
from brpnas.lowrank.options import find_options
from brpnas.lowrank.repair.job import outputs
from brpnas.lowrank.sensitivity import find_damages
from brpnas.models import LoadedModel, load_model
from brpnas.spaces import LowRankNetwork, LowRankSpace
from brpnas.spaces.lowrank import Option

__all__ = ["Images", "Progress", "Subject", "pixel_bounds", "prepare", "read_subject"]

_BATCH = 64
_OPTIONS = 16
_EACH_KIND = 10
_JUDGED_BY = 1024
"""Calibration images that versions are compared on; more change little."""
_HELD_SHARE = 3
"""Of fewer images, one of so many."""
_FEW = 16
_log = logging.getLogger(__name__)
_SAME = 1e-4
"""Relative difference of answers that rounding may make, and nothing else."""

Progress = Callable[[str], AbstractContextManager[Callable[[float, int], None]]]
"""Makes a bar for what is under way: called with its name."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images as the network takes them.

    Weights of pairs are fitted to some of the calibration images, and judged on the others: of
    few images, what fits them best is far from the best for others.

    Attributes:
        calibration: shape (n, channels, height, width), float32.
        labels: their classes, shape (n,), where they may be used.
        test: images and classes for the final figures, or None.
        bounds: the least and greatest value of each channel, shape (2, channels), if known.
        sha256: of the calibration images and labels.
    """

    calibration: Tensor
    labels: Tensor | None
    test: tuple[Tensor, Tensor] | None
    bounds: Tensor | None
    sha256: str

    @cached_property
    def fitted(self) -> tuple[Tensor, Tensor | None]:
        """Calibration images that weights are fitted to, and their classes."""
        return self._part(~self._held)

    @cached_property
    def judged(self) -> tuple[Tensor, Tensor | None]:
        """Calibration images that versions are compared on, and their classes."""
        return self._part(self._held)

    @property
    def _held(self) -> Tensor:
        """Which images are for judging: drawn, as files may be in the order of classes."""
        size = len(self.calibration)
        count = min(_JUDGED_BY, max(1, size // _HELD_SHARE))
        held = torch.zeros(size, dtype=torch.bool)
        held[torch.randperm(size, generator=torch.Generator().manual_seed(0))[:count]] = True
        return held

    def _part(self, chosen: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.calibration[chosen], None if self.labels is None else self.labels[chosen]


@dataclass(frozen=True, eq=False)
class Subject:
    """All that a search for low-rank versions of a network needs to know of it.

    Attributes:
        name: of the network, as the user named it.
        model: the network.
        layers: of it.
        factors: weights of every choice.
        space: of its low-rank versions.
        images: to judge them with.
    """

    name: str
    model: nn.Module
    layers: Layers
    factors: Factors
    space: LowRankSpace
    images: Images

    def build(self, arch: LowRankNetwork) -> nn.Module:
        """Return the network with this architecture."""
        return replace(self.model, arch.choices, self.factors)[0]


def read_subject(
    model: str | None,
    weights: Path | None,
    calibration: Path | None,
    test: Path | None,
    *,
    labels: bool,
    most: int,
    normalisation: str | None = None,
    seed: int,
) -> tuple[LoadedModel, Images]:
    """Load a network and its images; without a model, the one that comes with the package.

    Args:
        model: see `brpnas.models.load_model`.
        weights: of the model.
        calibration: images to judge by.
        test: images with labels for the final figures.
        normalisation: of the pixels, where it is not known of the model; see
            `brpnas.images.parse_normalisation`.
        labels: whether the labels of the calibration images may be used.
        most: calibration images to use, drawn at random.
        seed: of the drawing.

    Raises:
        UserError: what cannot be loaded, does not fit, or is missing.
    """
    name = "digits-cnn" if model is None else model
    if model is None and weights is not None:
        raise UserError("--weights needs --model: weights of which network?")
    loaded = load_model(name, weights)
    if calibration is None and name != "digits-cnn":
        raise UserError(f"--model {name} needs --calibration: images like those it was made for")
    if calibration is None:
        own, own_test = digits_image_sets()
    else:
        own, own_test = loaded.read_images(calibration, labels=labels), None
    tested = loaded.read_images(test) if test else own_test
    if tested is not None and tested.y is None:
        raise UserError(f"{tested.name}: test images need labels ('y')")
    if labels and own.y is None:
        raise UserError(f"--labels calibration: {own.name} has no labels ('y')")
    own = own.sample(most, seed)
    if len(own.x) == 1:
        raise UserError(f"{own.name}: 1 image; a search needs 2: to fit, to judge")
    _warn(own, loaded, normalisation)
    norm = loaded.normalisation if normalisation is None else parse_normalisation(normalisation)
    x = own.tensor(norm)
    y = torch.from_numpy(own.y) if labels and own.y is not None else None
    return loaded, Images(
        x,
        y,
        None if tested is None else _pair(tested, norm),
        None if norm is None else pixel_bounds(norm),
        content_hash(x, *(() if y is None else (y,))),
    )


def _warn(own: ImageSet, loaded: LoadedModel, normalisation: str | None) -> None:
    """Tell of calibration images whose answers mean little."""
    if len(own.x) < _FEW:
        judges = max(1, len(own.x) // _HELD_SHARE)
        _log.warning(
            "%s: %d images, of which %d judge: that versions agree with the original says little",
            own.name, len(own.x), judges,
        )  # fmt: skip
    elif (own.x == own.x[:1]).all():
        _log.warning("%s: all images are the same: nothing is known of others", own.name)
    if loaded.normalisation is None and normalisation is None:
        _log.warning(
            "the normalisation of model '%s' is not known: pixels enter it as they are read; "
            "--normalisation none says so", loaded.name,
        )  # fmt: skip


def prepare(
    loaded: LoadedModel,
    images: Images,
    *,
    cost: str,
    seed: int,
    bars: Progress,
    method: str = "output",
    options: int | None = None,
    cache: Path | None = None,
) -> Subject:
    """Find the layers of a network, what they see, and what each choice for them is worth.

    Args:
        loaded: the network.
        images: calibration images.
        cost: what is to be saved: ``macs``, ``params`` or ``latency``.
        seed: of random draws.
        bars: shows progress.
        method: how pairs' weights are found, one of `METHODS`.
        options: most choices of a layer; for latency, of each kind of pairs. By default 16, or 10.
        cache: a folder that keeps what takes long, or None.

    Raises:
        UserError: no layer can be replaced, or the network is random; see also what is called
            here.
    """
    model, (x, _) = loaded.module, images.fitted
    layers = find_layers(model, x[:1])
    if not layers.shapes:
        reasons = "; ".join(f"{name}: {why}" for name, why in layers.left.items())
        raise UserError(f"model '{loaded.name}': no layer can be replaced ({reasons or 'none'})")
    _check_repeats(loaded, x[:_BATCH])
    flow = find_flow(model, layers, x[:1])
    kept = None if cache is None else Cache(cache)
    moments = None
    if METHODS[method].needs_moments:

        def gather() -> dict[str, Moment]:
            with bars("calibration images") as bar:
                return gather_moments(model, layers, _counted(x, bar), len(x), seed)

        if kept is None:
            moments = gather()
        else:
            # The same weights in other code are another network, which its answers tell.
            network = content_hash(model_hash(model.state_dict()), outputs(model, x[:4]))
            sha256 = content_hash(network, x, f"patches drawn by seed {seed}")
            moments = cached_moments(kept, sha256, gather)
    factors = Factors(model, layers, method, moments, kept)
    with bars("layers decomposed") as bar:
        # Latency is not known yet: of two kinds, the one with more operations may be quicker.
        timed = cost == "latency"
        price, each_kind = ("macs", _EACH_KIND) if timed else (cost, 0)
        found = find_options(factors, price, options or _OPTIONS, each_kind, bar)
    chosen = {name: [choice for choice, _ in known] for name, known in found.items()}
    with bars("images, to weigh layers") as bar:
        damages = find_damages(model, factors, chosen, images.judged[0], seed, progress=bar)
    known = {
        name: [
            Option(choice, error, float(damage))
            for (choice, error), damage in zip(found[name], damages[name], strict=True)
        ]
        for name in found
    }
    space = LowRankSpace(
        layers.shapes,
        flow,
        known,
        fixed_macs=count_macs(model, x[:1]) - sum(one.macs for one in layers.shapes.values()),
        fixed_params=sum(p.numel() for p in model.parameters())
        - sum(one.params for one in layers.shapes.values()),
        adds_bias=METHODS[method].adds_bias,
    )
    return Subject(loaded.name, model, layers, factors, space, images)


def _check_repeats(loaded: LoadedModel, x: Tensor) -> None:
    """Raise UserError where the same images get other answers: nothing could be compared."""
    one, other = outputs(loaded.module, x), outputs(loaded.module, x)
    if float((one - other).norm()) > _SAME * float(one.norm()):
        raise UserError(
            f"model '{loaded.name}' answers the same images otherwise when it is asked again: is "
            "there dropout that stays on in evaluation mode? Its versions cannot be compared"
        )


def _counted(x: Tensor, bar: Callable[[int, int], None]) -> Iterator[Tensor]:
    done = 0
    for batch in torch.split(x, _BATCH):
        yield batch
        done += len(batch)
        bar(done, len(x))


def _pair(images: ImageSet, norm: Normalisation | None) -> tuple[Tensor, Tensor]:
    assert images.y is not None  # noqa: S101 - checked by the caller
    return images.tensor(norm), torch.from_numpy(images.y)


def pixel_bounds(norm: Normalisation) -> Tensor:
    """Return what black and white pixels become, shape (2, channels)."""
    mean, std = torch.tensor(norm.mean), torch.tensor(norm.std)
    return torch.stack([-mean / std, (1 - mean) / std])
