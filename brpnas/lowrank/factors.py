"""The weights of every choice of every layer of a network, each decomposition made once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from brpnas.errors import UserError, unknown_name
from brpnas.lowrank.cache import Cache, Recent, content_hash
from brpnas.lowrank.decompose import (
    METHODS,
    Decomposition,
    Method,
    output_error,
    to_layers,
)
from brpnas.lowrank.layers import Layers
from brpnas.lowrank.modules import LayerWeights, PairWeights
from brpnas.lowrank.moments import Moment
from brpnas.lowrank.schemes import Choice, Pair, Scheme, check_choice
from brpnas.lowrank.shapes import LayerShape
from brpnas.lowrank.spectrum import Spectrum

__all__ = ["Factors"]

_FORMAT = "lowrank 1"
"""Changes when the same weights would be decomposed otherwise."""


class Factors:
    """Finds weights for choices, and keeps what it found.

    A decomposition of a layer in a scheme gives all ranks. Those asked for last are kept in memory,
    and all on disk where a cache is given; the weights of the choices asked for last are kept too.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Layers,
        method: str = "output",
        moments: Mapping[str, Moment] | None = None,
        cache: Cache | None = None,
        memory_bytes: int = 1 << 30,
    ) -> None:
        """Keep a copy of the layers' weights, and decompose nothing yet.

        Args:
            model: a network.
            layers: of it (`find_layers`).
            method: ``plain``, ``whitened`` or ``output`` (see `decompose`).
            moments: what the layers saw (`gather_moments`), for methods that need it.
            cache: of decompositions on disk.
            memory_bytes: to keep decompositions and choices in, half for each; without the copy of
                the weights, and the moments.

        Raises:
            UserError: an unknown method, or one that needs moments without them.
        """
        if method not in METHODS:
            raise unknown_name("way to find low-rank weights", method, METHODS)
        self.layers = layers
        self.method: Method = METHODS[method]
        lacking = [name for name in layers.shapes if name not in (moments or {})]
        if self.method.needs_moments and lacking:
            raise UserError(
                f"method '{method}' needs calibration images: nothing is known of what layer "
                f"'{lacking[0]}' sees"
            )
        self._moments = dict(moments or {}) if self.method.needs_moments else {}
        self._cache = cache
        self._keys: dict[str, str] = {}
        self._decompositions: Recent[Spectrum] = Recent(memory_bytes // 2)
        self._found: Recent[tuple[LayerWeights, float]] = Recent(memory_bytes // 2)
        self._errors: dict[tuple[str, Scheme], Tensor] = {}
        modules = dict(model.named_modules())
        self._weights: dict[str, Tensor] = {}
        self._biases: dict[str, Tensor | None] = {}
        for name, shape in layers.shapes.items():
            parameters = dict(modules[name].named_parameters(recurse=False))
            weight = parameters["weight"].detach().to("cpu", torch.float64, copy=True)
            self._weights[name] = weight.view(shape.outputs, shape.inputs, *shape.kernel)
            bias = parameters.get("bias")
            self._biases[name] = None if bias is None else bias.detach().to("cpu", torch.float64)

    def weights(self, name: str, choice: Choice) -> LayerWeights:
        """Return the weights, float64, of what takes a layer's place.

        Args:
            name: of the layer.
            choice: for it, with at least one pair.

        Raises:
            UserError: no such layer, or none that has this choice.
        """
        return self._find(name, choice)[0]

    def dense(self, name: str) -> tuple[Tensor, Tensor | None]:
        """Return a layer's own weights and bias, float64, (outputs, inputs, height, width)."""
        return self._weights[name], self._biases[name]

    def error(self, name: str, choice: Choice) -> float:
        """Return the mean squared change of a layer's outputs as a share of their power.

        Of the outputs about their mean where the method makes good the mean; for ``plain``, of the
        weights. Lower is better; ``dense`` has 0.
        """
        return self._find(name, choice)[1] if choice.pairs else 0.0

    def errors(self, name: str, scheme: Scheme) -> Tensor:
        """Return `error` for all ranks of a layer in a scheme, without making their weights.

        Args:
            name: of the layer.
            scheme: that it has.

        Returns:
            Shape (ranks,), float64, for ``scheme.ranks(layers.shapes[name])``.

        Raises:
            UserError: no such layer, or none that has this scheme.
        """
        if (name, scheme) not in self._errors:
            spectrum = self._whole(name, scheme)
            self._errors[name, scheme] = spectrum.errors(self._weights[name])
        return self._errors[name, scheme].clone()

    def energy(self, name: str, scheme: Scheme) -> Tensor:
        """Return the squared singular values of a layer in a scheme, (matrices, k), falling."""
        return self._whole(name, scheme).energy

    def _whole(self, name: str, scheme: Scheme) -> Spectrum:
        shape = self._shape(name)
        check_choice(name, shape, Choice((Pair(scheme, int(scheme.ranks(shape)[0])),)))
        return self._decomposition(name, None, scheme, self._weights[name])

    def _shape(self, name: str) -> LayerShape:
        if name in self.layers.left:
            raise UserError(f"layer '{name}' cannot be replaced: {self.layers.left[name]}")
        if name not in self.layers.shapes:
            raise unknown_name("layer", name, self.layers.shapes)
        return self.layers.shapes[name]

    def _find(self, name: str, choice: Choice) -> tuple[LayerWeights, float]:
        return self._found.get((name, choice), lambda: self._make(name, choice))

    def _make(self, name: str, choice: Choice) -> tuple[LayerWeights, float]:
        check_choice(name, self._shape(name), choice)
        left = self._weights[name]
        pairs: list[PairWeights] = []
        before: Pair | None = None
        for pair in choice.pairs:
            decomposition = self._decomposition(name, before, pair.scheme, left)
            found, approximation = _pair(decomposition, pair, self._weights[name].shape)
            pairs.append(found)
            left = left - approximation
            before = pair
        moment, bias = self._moments.get(name), self._biases[name]
        seen = None
        if moment is not None:
            seen = moment.covariance if self.method.adds_bias else moment.second
            if self.method.adds_bias:
                lost = left.flatten(1) @ moment.mean
                bias = lost if bias is None else bias + lost
        error = output_error(left, self._weights[name], seen)
        return LayerWeights(tuple(pairs), bias), error

    def _decomposition(
        self, name: str, before: Pair | None, scheme: Scheme, weight: Tensor
    ) -> Spectrum:
        """Return the decomposition of a layer's weights, or of what a first pair left of them."""
        moment = self._moments.get(name)

        def make() -> Spectrum:
            if self._cache is None:
                return Spectrum(scheme, weight, moment, self.method)
            if name not in self._keys:
                seen = () if moment is None else (moment.second, moment.mean)
                self._keys[name] = content_hash(self._weights[name], *seen)
            file = content_hash(
                _FORMAT, self._keys[name], self.method.name, str(before), str(scheme)
            )
            kept = self._cache.get(
                file, lambda: {"basis": Spectrum(scheme, weight, moment, self.method).basis}
            )
            return Spectrum(scheme, weight, moment, self.method, kept["basis"])

        shared = () if moment is None else (moment.second, moment.covariance)
        return self._decompositions.get((name, before, scheme), make, self._weights[name], *shared)


def _pair(decomposition: Decomposition, pair: Pair, size: torch.Size) -> tuple[PairWeights, Tensor]:
    """Return the weights of a pair, and what it makes of the layer's."""
    outputs, _, height, width = size
    scheme = pair.scheme
    if scheme.family == "rows":
        firsts, seconds = [], []
        for part, rank in enumerate(decomposition.part_ranks(pair.rank)):
            second, first = decomposition.factors(rank)
            firsts.append(first[part])
            seconds.append(second[part])
        product = torch.cat([a @ b for a, b in zip(seconds, firsts, strict=True)])
        tall = tuple(second[:, :, None, None] for second in seconds)
        weights = PairWeights(pair, torch.cat(firsts)[:, :, None, None], tall)
        return weights, product.view(size)
    second, first = decomposition.factors(pair.rank)
    approximation = decomposition.approximation(second, first)
    places = {"separable": (height, 1), "output": (height, width)}.get(scheme.family, (1, 1))
    second, first = to_layers(scheme, second, first, places[0] * places[1])
    window = {"separable": (1, width), "input": (height, width)}.get(scheme.family, (1, 1))
    first = first.reshape(len(first), -1, *window)
    return (
        PairWeights(pair, first, (second.reshape(outputs, -1, *places),)),
        approximation,
    )
