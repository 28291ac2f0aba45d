"""Decompose once more, for what the layers of the compressed network see: nothing is trained.

A layer's pair was found for the inputs that the layer has in the original network. In the
compressed one it sees others, since the layers before it have changed too. Layer by layer, in the
network's order, z being the patches that the layer sees there and y what the original network's
layer says of the same images, least squares gives the full layer that turns these into those,

    V = W + cov(y - W z, z) (cov(z) + ridge)^-1

(drawn by the ridge towards W), and V is decomposed for the covariance of z. What is minimised is
so the error of the pair's outputs, y less the mean of y against its like, over both of its layers,
in every family. A layer's inputs are those of a network repaired up to it, as in GPFQ (Lybrand and
Saab, 2021), which quantises so.

One pass over the images does, all in one batch: each layer's pair is found when its inputs come by.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from brpnas.evaluating import evaluating
from brpnas.lowrank.factors import Factors
from brpnas.lowrank.layers import Layers, find_layers, layer_input
from brpnas.lowrank.modules import build
from brpnas.lowrank.moments import Moment, patches_of, windows_of
from brpnas.lowrank.repair.job import BATCH, Job, Repair, distance, outputs
from brpnas.lowrank.schemes import Choice
from brpnas.lowrank.shapes import LayerShape

__all__ = ["LeastSquares"]

_log = logging.getLogger(__name__)
_ACTIVATION_NUMBERS = 1 << 27
"""Of the largest output of a layer for all images: 512 MiB of float32."""


@dataclass(frozen=True)
class LeastSquares(Repair):
    """Layer-wise least squares.

    Attributes:
        images: that are seen; fewer where a layer's outputs would be over 512 MiB for them.
        draws: positions of each layer that are seen in all, where it has more.
        ridge: of the mean variance of what a layer sees.
    """

    needs_images: ClassVar[bool] = True

    images: int = 2048
    draws: int = 1 << 16
    ridge: float = 1e-3

    def run(self, job: Job) -> nn.Module:
        """See `Repair.run`; the network is returned as it was where held-out images say so."""
        seen, held = job.split()
        wanted = outputs(job.original, held)
        repaired = self.fit(job, seen)
        before, after = (distance(wanted, outputs(m, held)) for m in (job.compressed, repaired))
        _log.info("least squares: KL %.4f before, %.4f after, of held-out images", before, after)
        return repaired if after < before else copy.deepcopy(job.compressed)

    def fit(self, job: Job, images: Tensor) -> nn.Module:
        """Return the network that these images give."""
        layers = find_layers(job.original, images[:1])
        shapes = {name: layers.shapes[name] for name in layers.shapes if name in job.layers}
        if not shapes:
            return copy.deepcopy(job.compressed)
        most = max(math.prod(s.output_size) for s in layers.shapes.values())
        images = images[: max(1, min(self.images, _ACTIVATION_NUMBERS // most))]
        places = _draw(shapes, len(images), self.draws, job.seed)
        wanted = _outputs_at(job.original, images, places)
        found: dict[int, nn.Module] = {}

        def solve(name: str) -> Callable[..., Tensor | None]:
            layer = job.original.get_submodule(name)

            def hook(module: nn.Module, args: Any, kwargs: Any, _: Tensor) -> Tensor | None:  # noqa: ANN401 - torch's signature
                if id(module) not in found:
                    x = layer_input(args, kwargs)
                    moment, better = _full_layer(layer, x, places[name], wanted[name], self.ridge)
                    found[id(module)] = _pairs(
                        better, layer, shapes[name], job.layers[name], moment
                    )
                    job.tell(len(found), len(shapes))
                new: Tensor = found[id(module)](*args, **kwargs)
                return new

            return hook

        with evaluating(job.compressed), torch.no_grad(), contextlib.ExitStack() as hooks:
            for name in wanted:
                module = job.compressed.get_submodule(name)
                handle = module.register_forward_hook(solve(name), with_kwargs=True)
                hooks.callback(handle.remove)
            job.compressed(images)
        return copy.deepcopy(job.compressed, dict(found))


def _draw(
    shapes: Mapping[str, LayerShape], images: int, draws: int, seed: int
) -> dict[str, Tensor]:
    """Draw positions of each layer's outputs, one of each of as many spans of equal length."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for name, shape in shapes.items():
        each = math.prod(shape.output_size) // shape.outputs  # positions of an image
        count = images * each
        starts = torch.arange(min(count, draws), dtype=torch.float64)
        if count > draws:
            starts += torch.rand(draws, dtype=torch.float64, generator=generator)
        drawn[name] = (starts * (count / len(starts))).long().clamp(max=count - 1)
    return drawn


def _outputs_at(
    model: nn.Module, images: Tensor, places: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return outputs of layers at places over all images, shape (places, outputs).

    A layer that the network calls several times for an image is left out.
    """
    kept: dict[str, list[Tensor]] = {name: [] for name in places}
    run = [0, 0]  # the first image of the batch, and how many it has

    def note(name: str) -> Callable[..., None]:
        convolution = isinstance(model.get_submodule(name), nn.Conv2d)

        def hook(_: nn.Module, __: Any, y: Tensor) -> None:  # noqa: ANN401 - torch's signature
            rows = (y.movedim(1, -1) if convolution else y).flatten(0, -2)
            each = len(rows) // run[1]
            here = places[name] - run[0] * each
            kept[name].append(rows[here[(here >= 0) & (here < len(rows))]])

        return hook

    batches = torch.split(images, BATCH)
    with evaluating(model), torch.no_grad(), contextlib.ExitStack() as hooks:
        for name in places:
            handle = model.get_submodule(name).register_forward_hook(note(name))
            hooks.callback(handle.remove)
        for batch in batches:
            run[1] = len(batch)
            model(batch)
            run[0] += len(batch)
    return {name: torch.cat(parts) for name, parts in kept.items() if len(parts) == len(batches)}


def _full_layer(
    layer: nn.Module, x: Tensor, places: Tensor, wanted: Tensor, ridge: float
) -> tuple[Moment, nn.Module]:
    """Return what a layer sees, and the layer, float64, that makes of it what is wanted."""
    assert isinstance(layer, nn.Conv2d | nn.Linear)  # noqa: S101 - for the type checker
    weight = layer.weight.detach().double()
    flat = weight.flatten(1)
    outputs, patch = flat.shape
    # Sums of z and y side by side: one product gives all moments.
    total = torch.zeros(patch + outputs, dtype=torch.float64)
    second = torch.zeros(patch + outputs, patch, dtype=torch.float64)
    done = 0
    for z in patches_of(windows_of(layer, x), places):
        both = torch.cat([z, wanted[done : done + len(z)].to(z)], 1)
        second += (both.T @ z).double()
        total += both.sum(0).double()
        done += len(z)
    second, total = second / done, total / done
    mean, wanted_mean = total[:patch], total[patch:]
    covariance = second - torch.outer(total, mean)
    moment = Moment(second[:patch], mean, done)
    seen, cross = covariance[:patch], covariance[patch:]
    damped = seen + ridge * seen.diagonal().mean() * torch.eye(patch, dtype=torch.float64)
    better = copy.deepcopy(layer).double()
    with torch.no_grad():
        lacking = (cross - flat @ seen).T
        solved = flat + torch.linalg.lstsq(damped, lacking).solution.T
        better.weight.copy_(solved.view_as(weight))
        better.bias = nn.Parameter(wanted_mean - solved @ mean)
    return moment, better


def _pairs(
    better: nn.Module, layer: nn.Module, shape: LayerShape, choice: Choice, moment: Moment
) -> nn.Module:
    """Return pairs that make what a full layer does, of another layer's type."""
    one = Layers({"0": shape}, {})
    factors = Factors(nn.Sequential(better), one, "output", {"0": moment})
    return build(layer, factors.weights("0", choice))
