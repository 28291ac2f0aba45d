"""From what users name a network by to the network."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from brpnas.errors import UserError, unknown_name
from brpnas.foreign import call_function, read_exported, users_code
from brpnas.images import Normalisation
from brpnas.models.attention import open_attention
from brpnas.models.builtin import BUILTIN
from brpnas.models.exported import as_module
from brpnas.models.loaded import LoadedModel
from brpnas.models.weights import check_finite, fill, read_weights

__all__ = ["load_model"]


def load_model(spec: str, weights: Path | None = None) -> LoadedModel:
    """Load a trained network that classifies images.

    Args:
        spec: a name of `BUILTIN`; ``package.module:function``, which returns a torch module, or a
            pair of it and an example batch of images, as ``brpnas measure`` takes it; a ``.pt2``
            file of ``torch.export``; or a name of timm, if timm is installed.
        weights: ``.safetensors`` file. A name of timm needs one, and so does each of `BUILTIN`
            that comes without; modules and programs have weights already, which it replaces.

    Raises:
        UserError: no such network, weights that are not its own, NaN in them, or a network that
            does something else than to classify images.
    """
    if spec in BUILTIN:
        model = _builtin(spec, weights)
    elif ":" in spec:
        model = _function(spec)
    elif Path(spec).suffix.lower() == ".pt2":
        model = _exported(Path(spec))
    else:
        model = _timm(spec, weights)
    _check_initialised(model)
    if weights is not None:
        fill(model.module, read_weights(weights), str(weights), spec)
    model.module.eval().float()
    model = dataclasses.replace(model, module=open_attention(model.module))
    check_finite(model.module.state_dict(), f"model '{spec}'")
    return model if model.image_shape is None else _tried(model, model.image_shape)


def _builtin(name: str, weights: Path | None) -> LoadedModel:
    known = BUILTIN[name]
    with torch.random.fork_rng(devices=[]):
        module = known.build()
    if weights is None:
        if known.weights is None:
            raise UserError(f"--model {name} needs --weights FILE.safetensors")
        fill(module, read_weights(known.weights), str(known.weights), name)
    return LoadedModel(name, module, known.image_shape, known.classes, known.normalisation)


def _function(target: str) -> LoadedModel:
    returned = call_function(target)
    pair = isinstance(returned, tuple) and len(returned) == 2
    module, example = returned if pair else (returned, None)
    if isinstance(example, tuple | list) and len(example) == 1:
        example = example[0]
    if not isinstance(module, nn.Module) or not (example is None or isinstance(example, Tensor)):
        what = type(returned).__name__
        if pair:
            what = f"({type(module).__name__}, {type(example).__name__})"
        raise UserError(
            f"model '{target}': the function returned {what}; accepted: a torch module, or a pair "
            "of it and an example batch of images"
        )
    return LoadedModel(target, module, _image_shape(target, example))


def _check_initialised(model: LoadedModel) -> None:
    lazy = [name for name, one in model.module.named_parameters() if is_lazy(one)]
    if lazy:
        raise UserError(
            f"model '{model.name}': {lazy[0]} has no shape yet; run the network once on an example "
            "before the function returns it"
        )


def _image_shape(name: str, example: Tensor | None) -> tuple[int, int, int] | None:
    if example is None:
        return None
    if example.ndim != 4:
        raise UserError(
            f"model '{name}' has an example of shape {tuple(example.shape)}; accepted: a batch of "
            "images (batch, channels, height, width)"
        )
    channels, height, width = example.shape[1:]
    return channels, height, width


def _exported(path: Path) -> LoadedModel:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    module, shape = as_module(read_exported(content, str(path)), str(path))
    return LoadedModel(str(path), module, _image_shape(str(path), torch.empty(1, *shape)))


def _timm(name: str, weights: Path | None) -> LoadedModel:
    others = "package.module:function; a .pt2 file; a name of timm"
    if importlib.util.find_spec("timm") is None:
        missing = "which is not installed (pip install timm)"
        raise UserError(f"{unknown_name('model', name, BUILTIN)}; {others}, {missing}")
    with users_code("timm is installed, but cannot be imported"):
        timm: Any = importlib.import_module("timm")
    if not timm.is_model(name):
        raise UserError(f"{unknown_name('model', name, BUILTIN)}; {others}")
    if weights is None:
        raise UserError(
            f"--model {name}, of timm, needs --weights FILE.safetensors: nothing is downloaded"
        )
    with torch.random.fork_rng(devices=[]), users_code(f"model '{name}': timm failed"):
        module = timm.create_model(name, pretrained=False)
    settings = module.pretrained_cfg
    channels, height, width = settings["input_size"]
    normalisation = Normalisation(tuple(settings["mean"]), tuple(settings["std"]))
    return LoadedModel(name, module, (channels, height, width), None, normalisation)


def _tried(model: LoadedModel, shape: tuple[int, int, int]) -> LoadedModel:
    """Classify two grey images; what comes out tells the number of classes."""
    failed = f"model '{model.name}' fails on two images of shape {shape}"
    with torch.inference_mode(), users_code(failed):
        scores = model.module(torch.full((2, *shape), 0.5))
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != 2:
        what = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise UserError(
            f"model '{model.name}' returns {what} for two images; accepted: scores of shape (2, "
            "classes)"
        )
    if not torch.isfinite(scores).all():
        raise UserError(f"model '{model.name}' returns NaN or infinity for a grey image")
    return dataclasses.replace(model, classes=scores.shape[1])
