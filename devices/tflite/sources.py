"""Recipes for models: small values that travel to a worker process and make the model there."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from brpnas.devices.digest import digest
from brpnas.devices.tflite.convert import CONVERTERS, convert, convert_exported
from brpnas.devices.tflite.inspect import check
from brpnas.devices.tflite.model import TFLiteModel
from brpnas.devices.tflite.quantise import quantise
from brpnas.errors import UserError, one_line, unknown_name
from brpnas.evaluating import evaluating
from brpnas.foreign import call_function, check_target, users_code
from brpnas.quiet import quiet
from brpnas.spaces import NetworkShape, Space

__all__ = [
    "PRECISIONS",
    "ExportedModel",
    "FileModel",
    "FunctionModel",
    "ModelSource",
    "SpaceModel",
]

PRECISIONS = ("fp32", "int8")

Inputs = tuple[Tensor, ...]
"""Example inputs of a module, one or several."""


class ModelSource(Protocol):
    """Makes a model when it is called; picklable."""

    @property
    def name(self) -> str:
        """What tables and errors call the model."""

    @property
    def key(self) -> str:
        """Hash of all that the model depends on, in hexadecimal; found without converting."""

    def __call__(self) -> TFLiteModel:
        """Make the model.

        Raises:
            UserError: it cannot be made; says why.
        """


@dataclass(frozen=True)
class SpaceModel:
    """A network of a space, with weights that are the same every time.

    The weights are drawn as at the start of training, and batch-norms have random statistics: a
    fresh one would add nothing, which no trained network does, and sums of many layers would fade
    into numbers so small that arithmetic on them is slow. Weights do not matter for latency
    otherwise.

    Attributes:
        space: knows how to build the network.
        arch: the architecture's text.
        shape: widths, depths and image size.
        precision: one of PRECISIONS.
        converter: one of brpnas.devices.tflite.convert.CONVERTERS.

    Raises:
        UserError: an unknown precision or converter.
    """

    space: Space[Any]
    arch: str
    shape: NetworkShape = NetworkShape()  # noqa: RUF009 - frozen
    precision: str = "fp32"
    converter: str = "auto"

    def __post_init__(self) -> None:
        _require("precision", self.precision, PRECISIONS)
        _require("converter", self.converter, CONVERTERS)

    @property
    def name(self) -> str:
        """The architecture's text."""
        return self.arch

    @property
    def key(self) -> str:
        """Hash of architecture, shape, precision, converter and this program's version."""
        return digest(self.space.name, self.arch, vars(self.shape), self.precision, self.converter)

    def __call__(self) -> TFLiteModel:
        """Build and convert the network."""
        shape = self.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = self.space.build(self.space.parse(self.arch), shape)
            _as_if_trained(module)
        channels = shape.input_channels * shape.replicas
        example = torch.zeros(1, channels, shape.input_size, shape.input_size)
        return _at(self.precision, convert(module, example, self.name, self.converter))


@dataclass(frozen=True)
class _File:
    """A model in a file, which is read once. Pickles carry its content: a worker has not the file.

    Raises:
        UserError: an unknown precision; or later, when it is read, that it cannot be.
    """

    path: Path
    precision: str = "fp32"

    def __post_init__(self) -> None:
        _require("precision", self.precision, PRECISIONS)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_content": self._content}

    @property
    def name(self) -> str:
        """The file's path: two folders may hold files of one name."""
        return str(self.path)

    @functools.cached_property
    def _content(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror}") from error


class FileModel(_File):
    """A ``.tflite`` file, measured as it is or quantised before.

    Attributes:
        path: of the file.
        precision: ``int8`` quantises a float32 file.
    """

    @functools.cached_property
    def key(self) -> str:
        """Hash of the file's content; for int8, of this program's version too."""
        content = hashlib.sha256(self._content).hexdigest()
        return content if self.precision == "fp32" else digest("file", content, self.precision)

    def __call__(self) -> TFLiteModel:
        """Read and check the file."""
        check(self._content, str(self.path))
        return _at(self.precision, TFLiteModel(self.name, self._content, "file"))


class ExportedModel(_File):
    """An exported torch program.

    Attributes:
        path: of the ``.pt2`` file.
        precision: one of PRECISIONS.
    """

    @functools.cached_property
    def key(self) -> str:
        """Hash of the file's content, the precision and this program's version."""
        return digest("pt2", hashlib.sha256(self._content).hexdigest(), self.precision)

    def __call__(self) -> TFLiteModel:
        """Load and convert the program."""
        return _at(self.precision, convert_exported(self._content, self.name))


@dataclass(frozen=True)
class FunctionModel:
    """What a Python function of the user's returns: a torch module and its example inputs.

    Modules of one input are converted as any other; those of several are exported by torch, and
    litert-torch converts the program.

    Attributes:
        target: ``package.module:function``; found from the current folder too.
        precision: one of PRECISIONS.
        converter: one of brpnas.devices.tflite.convert.CONVERTERS.

    Raises:
        UserError: the target is malformed, or the precision or converter is unknown.
    """

    target: str
    precision: str = "fp32"
    converter: str = "auto"

    def __post_init__(self) -> None:
        _require("precision", self.precision, PRECISIONS)
        _require("converter", self.converter, CONVERTERS)
        check_target(self.target)

    @property
    def name(self) -> str:
        """The target as it is written."""
        return self.target

    @functools.cached_property
    def key(self) -> str:
        """Hash of what the function returned, as text and weights; it has to be seeded for that.

        The file of the function counts too: what a module's ``forward`` does is in no text of it.
        """
        module, inputs = self.call()
        with users_code(f"model '{self.name}': its weights cannot be read"):
            return self._hash(module, inputs)

    def _hash(self, module: nn.Module, inputs: Inputs) -> str:
        weights = hashlib.sha256(repr(module).encode())
        file = sys.modules[self.target.partition(":")[0]].__file__
        if file is not None:
            weights.update(Path(file).read_bytes())
        for name, value in module.state_dict().items():
            weights.update(name.encode())
            if isinstance(value, Tensor):
                weights.update(f"{value.dtype} {list(value.shape)}".encode())
                flat = value.detach().cpu().contiguous().flatten()
                weights.update(flat.view(torch.uint8).numpy().tobytes())  # numpy has no bfloat16
        ends = [[str(one.dtype), *one.shape] for one in inputs]
        return digest(self.target, weights.hexdigest(), ends, self.precision, self.converter)

    def __call__(self) -> TFLiteModel:
        """Call the function and convert what it returns."""
        module, inputs = self.call()
        try:
            with contextlib.redirect_stdout(sys.stderr):
                model = self._converted(module, inputs)
        except SystemExit as error:
            raise UserError(f"model '{self.name}': the module failed: {_what(error)}") from error
        return _at(self.precision, model)

    def _converted(self, module: nn.Module, inputs: Inputs) -> TFLiteModel:
        if len(inputs) == 1:
            return convert(module, inputs[0], self.name, self.converter)
        if self.converter == "brpnas":
            raise UserError(
                f"model '{self.name}' has {len(inputs)} inputs, and converter 'brpnas' writes "
                "models of one: use auto or litert-torch"
            )
        return convert_exported(_exported(module, inputs, self.name), self.name)

    def call(self) -> tuple[nn.Module, Inputs]:
        """Call the function: return the module and its example inputs.

        Raises:
            UserError: it is not there, failed, or returned something else.
        """
        return _called(self.target)


@functools.lru_cache(maxsize=1)  # the key and the model need the same call
def _called(target: str) -> tuple[nn.Module, Inputs]:
    result = call_function(target)
    if not isinstance(result, tuple) or len(result) != 2:
        raise _wrong(target, f"a {type(result).__name__}")
    module, examples = result
    inputs = tuple(examples) if isinstance(examples, tuple | list) else (examples,)
    tensors = inputs and all(isinstance(one, Tensor) for one in inputs)
    if not isinstance(module, nn.Module) or not tensors:
        kinds = " and ".join(type(one).__name__ for one in inputs) or "no input"
        raise _wrong(target, f"({type(module).__name__}, {kinds})")
    return module, inputs


def _wrong(target: str, returned: str) -> UserError:
    return UserError(
        f"model '{target}': the function returned {returned}, not a pair (torch module, example "
        "input tensor or a tuple of several)"
    )


def _exported(module: nn.Module, inputs: Inputs, name: str) -> bytes:
    """Return a module as an exported program, the content of a ``.pt2`` file."""
    file = io.BytesIO()
    try:
        with evaluating(module), quiet():
            torch.export.save(torch.export.export(module, inputs), file)
    except Exception as error:
        shapes = ", ".join(str(tuple(one.shape)) for one in inputs)
        raise UserError(
            f"model '{name}': torch cannot export it with example inputs of shapes {shapes}: "
            f"{_what(error)}"
        ) from error
    return file.getvalue()


def _as_if_trained(module: nn.Module) -> None:
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    counts = [norm.num_features for norm in norms]
    smallest = torch.tensor([0.5, -0.5, -0.5, 0.5]).unsqueeze(1)  # scale, shift, mean, variance
    values = torch.split_with_sizes(torch.rand(4, sum(counts)) + smallest, counts, 1)
    with torch.no_grad():
        for norm, value in zip(norms, values, strict=True):
            state = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
            for place, numbers in zip(state, value.unbind(), strict=True):
                if place is not None:
                    place.copy_(numbers)


def _at(precision: str, model: TFLiteModel) -> TFLiteModel:
    return quantise(model) if precision == "int8" else model


def _require(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise unknown_name(what, value, choices)


def _what(error: BaseException) -> str:
    return one_line(f"{type(error).__name__}: {error}")
