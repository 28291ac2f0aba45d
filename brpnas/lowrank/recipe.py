"""A compressed network on disk: what was chosen, and its weights, for a network the user has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from brpnas.errors import DAMAGE, UserError, one_line
from brpnas.evaluating import evaluating
from brpnas.files import replace_file
from brpnas.lowrank.cache import model_hash
from brpnas.lowrank.layers import Layers
from brpnas.lowrank.modules import LayerWeights, from_state
from brpnas.lowrank.schemes import Choice
from brpnas.lowrank.surgery import Report, replace

__all__ = ["Recipe", "apply_recipe", "read_recipe", "save_recipe", "weights_hash"]

_FORMAT = 1
_ACCEPTED = "accepted is a recipe: front/NN.json in the folder of `brpnas search --space lowrank`"


@dataclass(frozen=True, eq=False)
class Recipe:
    """A compressed network.

    Attributes:
        model_sha256: hash of the state of the network that it was made from.
        choices: by the layer's name.
        method: how the pairs' weights were found, and what was done to them afterwards.
        state: of the compressed network.
        source: what the network was that it was made from, in words; empty where that is unknown.
    """

    model_sha256: str
    choices: Mapping[str, Choice]
    method: str
    state: Mapping[str, Tensor]
    source: str = ""


@dataclass(frozen=True)
class _FromState:
    layers: Layers
    state: Mapping[str, Tensor]

    def weights(self, name: str, choice: Choice) -> LayerWeights:
        return from_state(name, choice, self.state)


def save_recipe(
    path: Path,
    model: nn.Module,
    compressed: nn.Module,
    report: Report,
    method: str,
    source: str = "",
) -> None:
    """Write a recipe: a ``.json`` file, and its weights in a ``.safetensors`` file beside it.

    Args:
        path: of the ``.json`` file; its folder is made if need be.
        model: the network that was compressed.
        compressed: what became of it; its weights may have been changed since.
        report: what surgery did.
        method: how the weights were found, in words.
        source: what the network is, in words, such as its name and the file of its weights.

    Raises:
        UserError: the files cannot be written.
    """
    if path.suffix != ".json":
        raise UserError(f"{path}: a recipe is a .json file")
    # Tensors that are held twice are written twice: safetensors refuses memory that is shared.
    state = {name: tensor.detach().cpu().clone() for name, tensor in _state(compressed).items()}
    content = save({name: tensor.contiguous() for name, tensor in state.items()})
    description = {
        "format": _FORMAT,
        "model_sha256": weights_hash(model),
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "method": method,
        "source": source,
        "choices": {name: str(done.choice) for name, done in report.replaced.items()},
    }
    weights = path.with_suffix(".safetensors")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(weights, content)
        # Written last: a recipe that is there is complete.
        replace_file(path, (json.dumps(description, indent=1) + "\n").encode())
    except OSError as error:
        raise UserError(f"{path}: the recipe cannot be written here ({error})") from None


def read_recipe(path: Path) -> Recipe:
    """Read what `save_recipe` wrote.

    Raises:
        UserError: no recipe there, a damaged or a later version's file, or other weights.
    """
    try:
        description: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise _no_recipe(path, error.strerror or one_line(error)) from None
    except (ValueError, RecursionError) as error:
        raise _no_recipe(path, f"not JSON: {one_line(error)}") from None
    # First of all: other files have a format, too.
    if not isinstance(description, dict) or "choices" not in description:
        raise _no_recipe(path, "'choices' is missing")
    try:
        if description["format"] != _FORMAT:
            raise UserError(f"{path}: format {description['format']}, but this is {_FORMAT}")
        choices = {}
        for name, text in description["choices"].items():
            try:
                choices[str(name)] = Choice.parse(str(text))
            except (UserError, *DAMAGE) as error:
                raise UserError(f"{path}: layer '{name}': {one_line(error)}") from None
        hashes = (str(description["model_sha256"]), str(description["weights_sha256"]))
        method, source = str(description["method"]), str(description.get("source", ""))
    except KeyError as error:
        raise _no_recipe(path, f"{error} is missing") from None
    except DAMAGE as error:
        raise _no_recipe(path, one_line(error)) from None
    weights = path.with_suffix(".safetensors")
    try:
        content = weights.read_bytes()
        if hashlib.sha256(content).hexdigest() != hashes[1]:
            raise UserError(f"{weights}: not the weights that {path.name} was written with")
        state = load(content)
    except (OSError, SafetensorError, *DAMAGE) as error:
        raise UserError(f"{weights}: not readable ({one_line(error)})") from None
    return Recipe(hashes[0], choices, method, state, source)


def _no_recipe(path: Path, why: str) -> UserError:
    return UserError(f"{path}: not a recipe ({why}); {_ACCEPTED}")


def weights_hash(model: nn.Module) -> str:
    """Return the SHA-256 of a network's tensors, by which recipes and runs know it."""
    return model_hash(_state(model))


def apply_recipe(recipe: Recipe, model: nn.Module, layers: Layers) -> tuple[nn.Module, Report]:
    """Return the compressed network of a recipe.

    Args:
        recipe: of this network.
        model: the network that was compressed; left as it is.
        layers: of it (`find_layers`).

    Raises:
        UserError: the recipe is of another network.
    """
    here = weights_hash(model)
    if here != recipe.model_sha256:
        made_from = f"{recipe.source}, " if recipe.source else ""
        raise UserError(
            f"the recipe is of another network, or of other weights: it was made from {made_from}"
            f"{recipe.model_sha256[:12]}..., this is {here[:12]}... (SHA-256 of all weights)"
        )
    try:
        compressed, report = replace(model, recipe.choices, _FromState(layers, recipe.state))
        kept = {k: v for k, v in compressed.state_dict().items() if not isinstance(v, Tensor)}
        compressed.load_state_dict({**kept, **recipe.state})  # a recipe has the tensors only
        for name in report.replaced:
            _check_shape(name, compressed.get_submodule(name), layers)
    except DAMAGE as error:
        raise UserError(f"the recipe's weights do not fit: {one_line(error)}") from None
    return compressed, report


def _check_shape(name: str, module: nn.Module, layers: Layers) -> None:
    """See to it that what takes a layer's place takes and returns what the layer does."""
    shape = layers.shapes[name]
    like = next(module.parameters())
    with evaluating(module), torch.no_grad():
        size = module(torch.zeros(shape.input_size, dtype=like.dtype, device=like.device)).shape
    if size != shape.output_size:
        raise ValueError(f"layer '{name}' returns {tuple(size)}, not {shape.output_size}")


def _state(model: nn.Module) -> dict[str, Tensor]:
    """Return a network's tensors; others that it may keep there are left out."""
    return {name: x for name, x in model.state_dict().items() if isinstance(x, Tensor)}
