"""Put low-rank pairs in the place of a network's layers, and say what was done."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from brpnas.errors import UserError, unknown_name
from brpnas.lowrank.layers import Layers
from brpnas.lowrank.modules import LayerWeights, build
from brpnas.lowrank.schemes import Choice, check_choice

__all__ = ["Replaced", "Report", "WeightSource", "replace"]


class WeightSource(Protocol):
    """Where the weights of pairs come from: `Factors`, or a recipe."""

    @property
    def layers(self) -> Layers:
        """The layers of the network."""
        ...

    def weights(self, name: str, choice: Choice) -> LayerWeights:
        """Return the weights of what takes a layer's place."""
        ...


@dataclass(frozen=True)
class Replaced:
    """A layer that was replaced.

    Attributes:
        choice: what is in its place.
        macs: multiply-accumulates of the layer and of what is in its place.
        params: parameters of both.
    """

    choice: Choice
    macs: tuple[int, int]
    params: tuple[int, int]


@dataclass(frozen=True)
class Report:
    """What surgery did.

    Attributes:
        replaced: by the layer's name.
        left: why a layer with weights is as it was, by its name.
    """

    replaced: Mapping[str, Replaced]
    left: Mapping[str, str]

    def __str__(self) -> str:
        lines = [
            f"{name}: {done.choice}, {done.macs[0]:,} -> {done.macs[1]:,} macs, "
            f"{done.params[0]:,} -> {done.params[1]:,} parameters"
            for name, done in self.replaced.items()
        ]
        return "\n".join([*lines, *(f"{name}: left, {why}" for name, why in self.left.items())])


def replace(
    model: nn.Module, choices: Mapping[str, Choice], source: WeightSource
) -> tuple[nn.Module, Report]:
    """Return a copy of a network in which pairs have taken the place of layers.

    A layer that cannot be replaced stays as it is, and the report says why, even where a choice
    names it. A module that the network holds at several places is replaced at all of them.

    Args:
        model: left as it is.
        choices: by the layer's name; a layer without one stays as it is.
        source: of the weights, for this network.

    Raises:
        UserError: a choice for a layer that there is not, or that this layer does not have.
    """
    places: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        places.setdefault(id(module), []).append(name)
    modules = dict(model.named_modules())
    shapes = source.layers.shapes
    left = dict(source.layers.left)
    for name in choices:
        _check_name(name, source.layers, places)
    replaced: dict[str, Replaced] = {}
    made: dict[int, nn.Module] = {}
    for name, shape in shapes.items():
        choice = choices.get(name, Choice())
        if not choice.pairs:
            left[name] = "no pair was chosen"
            continue
        check_choice(name, shape, choice)
        layer = modules[name]
        made[id(layer)] = new = build(layer, source.weights(name, choice))
        after = sum(parameter.numel() for parameter in new.parameters())
        replaced[name] = Replaced(choice, (shape.macs, choice.macs(shape)), (shape.params, after))
    # To the copy, a module that is in its memory already is one that was copied: so it takes the
    # new ones wherever the network holds the old ones, containers that it keeps for itself too.
    copied = copy.deepcopy(model, dict(made))
    for module in copied.modules():
        if isinstance(module, nn.TransformerEncoderLayer) and any(
            inner in made.values() for inner in module.modules()
        ):
            # Its fast path reads the weights of its layers itself; this turns it off.
            module.activation_relu_or_gelu = 0
    return copied, Report(replaced, left)


def _check_name(name: str, layers: Layers, places: Mapping[int, list[str]]) -> None:
    if name in layers.shapes or name in layers.left:
        return
    for names in places.values():
        if name in names and names[0] in layers.shapes:
            raise UserError(f"layer '{name}' is the same module as '{names[0]}': choose for that")
    raise unknown_name("layer", name, layers.shapes)
