"""Which models are to be measured, or networks to be mapped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from brpnas.datasets import open_table
from brpnas.devices.fpga.sources import NetworkSource, ReadNetwork, SpaceNetwork, read_network
from brpnas.devices.tflite.sources import (
    ExportedModel,
    FileModel,
    FunctionModel,
    ModelSource,
    SpaceModel,
)
from brpnas.errors import UserError
from brpnas.resolver import parse_archs
from brpnas.spaces import FiniteSpace, NetworkShape

__all__ = ["Chosen", "Models", "Networks", "Wanted", "choose_models", "choose_networks"]

_SHAPE = ("channels", "cells_per_stage", "input_size")
"""Attributes of a shape that a measurement may vary."""


class _Source(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def key(self) -> str: ...


S = TypeVar("S", bound=_Source)


@dataclass(frozen=True)
class Wanted:
    """What the user named: networks of a space, or models.

    Attributes:
        space: of the networks.
        sample: so many of them, at random.
        archs: those in this file.
        everything: all of them.
        models: files, or ``package.module:function``.
        seed: of the sample.
    """

    space: FiniteSpace[Any] | None = None
    sample: int | None = None
    archs: Path | None = None
    everything: bool = False
    models: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Chosen(Generic[S]):
    """What is to be measured or mapped.

    Attributes:
        sources: by what stands in the first column of the table; several rows may share one.
        conditions: what their figures depend on besides the device and its plan.
        space: name of the space that they are networks of; empty if they are none.
    """

    sources: Mapping[str, S]
    conditions: Mapping[str, str]
    space: str = ""

    @property
    def column(self) -> str:
        """Name of the table's first column."""
        return "arch" if self.space else "model"


class Models(Chosen[ModelSource]):
    """Models that are to be measured."""

    @property
    def converted(self) -> bool:
        """Whether a converter makes any of them that the user may choose."""
        kinds = (SpaceModel, FunctionModel)
        return any(isinstance(source, kinds) for source in self.sources.values())


class Networks(Chosen[NetworkSource]):
    """Networks that are to be mapped to an FPGA."""


def choose_models(
    wanted: Wanted,
    shape: NetworkShape | None = None,
    precision: str = "fp32",
    converter: str = "auto",
) -> Models:
    """Find the source of every model.

    Networks that run alike share a source: each is measured as what remains of it once dead
    branches are pruned.

    Args:
        wanted: what the user named.
        shape: of a space's networks; None: as they were published.
        precision: ``fp32`` or ``int8``.
        converter: ``auto``, ``brpnas`` or ``litert-torch``.

    Raises:
        UserError: not exactly one of the ways to name models, unreadable files, unknown names.
    """
    conditions = {"precision": precision, "converter": converter}

    def of_space(space: FiniteSpace[Any], arch: str, size: NetworkShape) -> ModelSource:
        return SpaceModel(space, arch, size, precision, converter)

    def named(text: str) -> ModelSource:
        suffix = Path(text).suffix.lower()
        if suffix == ".tflite":
            return FileModel(Path(text), precision)
        if suffix == ".pt2":
            return ExportedModel(Path(text), precision)
        if ":" in text:
            return FunctionModel(text, precision, converter)
        raise UserError(
            f"--model {text}: unknown kind; accepted: a .tflite file, a .pt2 file, "
            "package.module:function"
        )

    return Models(*_choose(wanted, shape, conditions, of_space, named))


def choose_networks(wanted: Wanted, shape: NetworkShape | None = None) -> Networks:
    """Find the source of every network that an FPGA is to run; files are read at once.

    Networks of a space that run alike share a source, as models do.

    Args:
        wanted: what the user named; models are ``.onnx`` files or ``package.module:function``.
        shape: of a space's networks; None: as they were published.

    Raises:
        UserError: not exactly one of the ways to name networks, files that cannot be read or hold
            a layer for which FPGAs have none, unknown names.
    """

    def of_space(space: FiniteSpace[Any], arch: str, size: NetworkShape) -> NetworkSource:
        return SpaceNetwork(space, arch, size)

    def named(text: str) -> NetworkSource:
        return ReadNetwork(text, read_network(text))

    return Networks(*_choose(wanted, shape, {}, of_space, named))


def _choose(
    wanted: Wanted,
    shape: NetworkShape | None,
    conditions: Mapping[str, str],
    of_space: Callable[[FiniteSpace[Any], str, NetworkShape], S],
    named: Callable[[str], S],
) -> tuple[dict[str, S], dict[str, str], str]:
    """Return sources, conditions and space of what the user named."""
    if wanted.space and wanted.models:
        raise UserError("--space and --model exclude each other: measure them one after the other")
    if not wanted.space and not wanted.models:
        raise UserError("what is to be measured? give either --space or --model")
    ways = [wanted.sample is not None, wanted.archs is not None, wanted.everything]
    if not wanted.space:
        if any(ways):
            raise UserError("--sample, --archs and --all go with --space")
        return _named(wanted.models, named), {**conditions}, ""
    if sum(ways) != 1:
        raise UserError("--space needs one of --sample N, --archs FILE and --all")
    space = wanted.space
    if wanted.archs:
        chosen = _read_archs(wanted.archs, space)
    else:
        chosen = _choose_archs(space, wanted.sample, wanted.seed)
    size = shape or space.shape
    sizes = {name: str(getattr(size, name)) for name in _SHAPE}
    sources = {str(arch): of_space(space, str(space.deployed(arch)), size) for arch in chosen}
    return sources, {**conditions, "space": space.name, **sizes}, space.name


def _named(models: tuple[str, ...], named: Callable[[str], S]) -> dict[str, S]:
    sources: dict[str, S] = {}
    for text in models:
        source = named(text)
        if source.name in sources:
            raise UserError(f"--model {text} is given twice")
        sources[source.name] = source
    return sources


def _choose_archs(space: FiniteSpace[Any], sample: int | None, seed: int) -> list[Any]:
    """Return the networks of a space that differ once they run, or a random part of them."""
    distinct = list(dict.fromkeys(map(space.deployed, space)))
    if sample is None:
        return distinct
    if sample > len(distinct):
        raise UserError(
            f"--sample {sample} is too large: space '{space.name}' has {len(distinct)} networks "
            "that differ once they run"
        )
    chosen = np.random.default_rng(seed).choice(len(distinct), sample, replace=False)
    return [distinct[place] for place in chosen]


def _read_archs(path: Path, space: FiniteSpace[Any]) -> list[Any]:
    """Read a table's column ``arch``, or the lines of a text file."""
    if path.suffix.lower() in (".parquet", ".csv"):
        return parse_archs(open_table(path), space)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--archs {path}: cannot read ({error})") from None
    archs = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                archs.append(space.parse(line.strip()))
            except UserError as error:
                raise UserError(f"--archs {path}: line {number}: {error}") from None
    if not archs:
        raise UserError(f"--archs {path}: no architecture in it; one is expected on each line")
    return archs
