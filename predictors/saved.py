"""A fitted predictor on disk: a folder with safetensors and JSON, never a pickle."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from brpnas.errors import DAMAGE, UserError, one_line
from brpnas.files import replace_file
from brpnas.predictors.predictor import SavablePredictor
from brpnas.predictors.registry import class_of, kind_of
from brpnas.spaces import GraphSchema

__all__ = ["Provenance", "SavedPredictor", "load_predictor", "save_predictor"]

_DESCRIPTION = "predictor.json"
_WEIGHTS = "weights.safetensors"
_FORMAT = 1
_REFITS = "scikit-learn"
"""Fits trees again, when they are loaded."""

_FACTS: dict[str, tuple[type, str]] = {
    **dict.fromkeys(("metric", "table", "table_sha256"), (str, "text")),
    **dict.fromkeys(("train", "valid", "seed"), (int, "a whole number")),
    "versions": (dict, "an object"),
}
"""What a description says of a predictor's provenance, and what each is."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Provenance:
    """What a predictor was trained on.

    Attributes:
        metric: the column, with its unit in the name.
        table: the table's name.
        table_sha256: hash of the table's content, empty if unknown.
        train: networks to learn from.
        valid: networks more, which each kind holds out for its own purpose, or learns from too.
        seed: that picked them.
        versions: of the software.
    """

    metric: str
    table: str
    table_sha256: str
    train: int
    valid: int
    seed: int
    versions: Mapping[str, str] = field(
        default_factory=lambda: {
            name: version(name) for name in ("brpnas", "torch", "numpy", "scikit-learn")
        }
    )


@dataclass(frozen=True)
class SavedPredictor:
    """A predictor with what it was trained on.

    Attributes:
        predictor: ready to predict.
        provenance: its space is that of ``predictor.schema``.
    """

    predictor: SavablePredictor
    provenance: Provenance


def save_predictor(folder: Path, predictor: SavablePredictor, provenance: Provenance) -> None:
    """Write a fitted predictor into a folder, which is made if need be.

    Raises:
        UserError: the predictor was not fitted, it is of no known kind, or the folder cannot be
            written.
    """
    state = predictor.state()
    kind = kind_of(predictor)
    assert predictor.schema is not None  # noqa: S101 - state() raised otherwise
    description = {
        "format": _FORMAT,
        "kind": kind,
        "settings": predictor.settings(),
        "schema": asdict(predictor.schema),
        "provenance": asdict(provenance),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(state, folder / _WEIGHTS)
        description["weights_sha256"] = _sha256(folder / _WEIGHTS)
        # Written last: a folder with a description is complete.
        text = json.dumps(description, indent=1) + "\n"
        replace_file(folder / _DESCRIPTION, text.encode())
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder}: the predictor cannot be written here ({error})") from None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _provenance(content: Any, path: Path) -> Provenance:  # noqa: ANN401 - from a file
    """Check what a file says of where a predictor comes from.

    Raises:
        UserError: something is missing, or of another kind than what `save_predictor` wrote.
    """
    if not isinstance(content, dict):
        raise UserError(f"{path}: 'provenance' is not an object")
    for name, (kind, words) in _FACTS.items():
        if name not in content:
            raise UserError(f"{path}: '{name}' is missing in 'provenance'")
        value = content[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            said = one_line(json.dumps(value), 50)
            raise UserError(f"{path}: '{name}' in 'provenance' is {said}, not {words}")
    for name, number in content["versions"].items():
        if not isinstance(number, str):
            raise UserError(f"{path}: the version of '{name}' in 'provenance' is not text")
    return Provenance(**{name: content[name] for name in _FACTS})


def _texts(content: Any) -> tuple[str, ...]:  # noqa: ANN401 - from a file
    if not isinstance(content, list) or not all(isinstance(one, str) for one in content):
        raise TypeError(f"{one_line(json.dumps(content), 50)} is no list of texts")
    return tuple(content)


def load_predictor(folder: Path) -> SavedPredictor:
    """Read a predictor that `save_predictor` wrote.

    Raises:
        UserError: no predictor there, a damaged or a later version's file.
    """
    path = folder / _DESCRIPTION
    try:
        description: Any = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{folder}: no predictor here (there is no {_DESCRIPTION})") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from None
    try:
        if description["format"] != _FORMAT:
            raise UserError(f"{path}: format {description['format']}, but this is {_FORMAT}")
        kind = str(description["kind"])
        made = class_of(kind, path)
        schema = GraphSchema(
            space=str(description["schema"]["space"]),
            operations=_texts(description["schema"]["operations"]),
            numbers=_texts(description["schema"]["numbers"]),
        )
        provenance = _provenance(description["provenance"], path)
        settings = dict(description["settings"])
    except KeyError as error:
        raise UserError(f"{path}: not the description of a predictor: {error} is missing") from None
    except DAMAGE as error:
        raise UserError(f"{path}: not the description of a predictor ({error!r})") from None
    try:
        predictor = made.restored(settings, schema, load_file(folder / _WEIGHTS))
        # Looked at last: what is cut off or of another shape can be said more clearly.
        if description.get("weights_sha256") != _sha256(folder / _WEIGHTS):
            raise ValueError(f"its SHA-256 is not the one in {_DESCRIPTION}")
    except (OSError, SafetensorError, MemoryError, *DAMAGE) as error:
        raise UserError(
            f"{folder / _WEIGHTS}: damaged, or of another predictor ({one_line(error)})"
        ) from None
    here, there = version(_REFITS), provenance.versions.get(_REFITS)
    if kind.startswith("trees-") and here != there:
        _log.warning(
            "%s: these trees are fitted again by %s %s, and were fitted by %s: predictions may "
            "differ a little",
            folder,
            _REFITS,
            here,
            there or "another version",
        )
    return SavedPredictor(predictor, provenance)
