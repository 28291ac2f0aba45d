"""The predictors by the name that the user types."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from typing import Any

from brpnas.errors import UserError, one_line, unknown_name
from brpnas.plugins import Registry, subclass_of
from brpnas.predictors.predictor import SavablePredictor

__all__ = ["PREDICTORS", "Family", "class_of", "kind_of"]


@dataclass(frozen=True)
class Family:
    """One way to look at graphs, trained in two ways; both take (seed, share held out).

    A class is loaded when it is asked for: who fits a graph network need not wait for the
    libraries that trees are made of.

    Attributes:
        regressor_at: place of the class that predicts a metric in its unit: ``module:Class``.
        ranker_at: place of the class that predicts which network is better.
    """

    regressor_at: str
    ranker_at: str

    @property
    def regressor(self) -> type[SavablePredictor]:
        """The class that predicts a metric in its unit."""
        return _load(self.regressor_at)

    @property
    def ranker(self) -> type[SavablePredictor]:
        """The class that predicts which network is better."""
        return _load(self.ranker_at)


def _load(place: str) -> type[SavablePredictor]:
    try:
        found = pkgutil.resolve_name(place)
        kind: type[SavablePredictor] = subclass_of(SavablePredictor)(place, found)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(f"predictor {place} is not usable: {one_line(error)}") from error
    return kind


def _place(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _family(name: str, found: Any) -> Family:  # noqa: ANN401 - whatever a package offers
    """Return a family, or the family of one class that does for both."""
    if isinstance(found, Family):
        return found
    place = _place(subclass_of(SavablePredictor)(name, found))
    return Family(place, place)


ENSEMBLE = Family(
    "brpnas.predictors.ensemble:EnsembleRegressor", "brpnas.predictors.ensemble:EnsembleRanker"
)
GCN = Family("brpnas.predictors.gcn:GCNRegressor", "brpnas.predictors.gcn:GCNRanker")
GP = Family("brpnas.predictors.gp:GPRegressor", "brpnas.predictors.gp:GPRanker")
EAGLE = Family("brpnas.predictors.eagle:EagleRegressor", "brpnas.predictors.eagle:EagleRanker")

PREDICTORS: Registry[Family] = Registry(
    "predictor",
    "brpnas.predictors",
    _family,
    {
        "ensemble": "brpnas.predictors.registry:ENSEMBLE",
        "gcn": "brpnas.predictors.registry:GCN",
        "gp": "brpnas.predictors.registry:GP",
        "trees": "brpnas.predictors.trees:TreesPredictor",
        "mlp": "brpnas.predictors.mlp:MLPPredictor",
        "layerwise": "brpnas.predictors.layerwise:LayerwisePredictor",
        "flops": "brpnas.predictors.flops:FlopsPredictor",
        "eagle": "brpnas.predictors.registry:EAGLE",
    },
)
"""The families of predictors by the name that the user types."""


def kind_of(predictor: SavablePredictor) -> str:
    """Return what files call a predictor's class, such as ``gcn-regressor``.

    Raises:
        UserError: it is of no known family, and could not be loaded again.
    """
    place = _place(type(predictor))
    for name in PREDICTORS:
        try:
            family = PREDICTORS[name]
        except UserError:  # of a package that is broken, which is not this one
            continue
        if place in (family.regressor_at, family.ranker_at):
            return f"{name}-{'regressor' if place == family.regressor_at else 'ranker'}"
    accepted = ", ".join(PREDICTORS)
    raise UserError(
        f"a {type(predictor).__name__} cannot be saved; accepted are predictors of the families "
        f"{accepted}"
    )


def class_of(kind: str, where: object) -> type[SavablePredictor]:
    """Return the class that files call so.

    Args:
        kind: such as ``gcn-regressor``.
        where: the file, for errors.

    Raises:
        UserError: no such kind, or the package that offers it is broken.
    """
    name, _, role = kind.rpartition("-")
    if name not in PREDICTORS or role not in ("regressor", "ranker"):
        known = [f"{name}-{role}" for name in PREDICTORS for role in ("regressor", "ranker")]
        raise unknown_name(f"kind of predictor in {where}", kind, known)
    family = PREDICTORS[name]
    return family.regressor if role == "regressor" else family.ranker
