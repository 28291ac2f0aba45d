"""What there is of a kind (spaces, predictors, ...) by name: built in, or of installed packages.

Other packages offer more by entry points: names, each with the place of an object, in a file that
pip installs beside the package (https://packaging.python.org/specifications/entry-points). What
comes with brpnas is written in the same form and goes through the same door. It stands in the code,
not in brpnas's own metadata, so that a checkout needs no new installation when something is added,
the names keep their order, and no folder is searched for what is built in.

Names are listed without importing anything; what a name stands for is imported when it is asked
for. So a package that is broken hinders only those who ask for what it offers.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, distributions
from typing import Any, TypeVar

from brpnas.errors import UserError, one_line

__all__ = ["Registry", "asks_for", "call_with", "subclass_of"]

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """What there is of a kind, by the name that users type: first what is built in, in its order.

    Iteration gives names and imports nothing; ``registry[name]`` imports what it returns.

    Args:
        kind: what the names stand for, such as ``"strategy"``.
        group: of entry points, such as ``"brpnas.strategies"``.
        read: makes of a name and what was found there what the registry returns; raises TypeError
            where that is none of the kind.
        built_in: places of what comes with brpnas, ``package.module:object``, by name.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        read: Callable[[str, Any], T],
        built_in: Mapping[str, str],
    ) -> None:
        self.kind = kind
        self.group = group
        self._read = read
        self._built_in = {name: EntryPoint(name, at, group) for name, at in built_in.items()}

    def __iter__(self) -> Iterator[str]:
        yield from self._built_in
        yield from (name for name in self._installed if name not in self._built_in)

    def __len__(self) -> int:
        return len({*self._built_in, *self._installed})

    def __contains__(self, name: object) -> bool:
        return name in self._built_in or name in self._installed

    def __getitem__(self, name: str) -> T:
        """Import what a name stands for.

        Raises:
            KeyError: no such name.
            UserError: several packages offer it, or what a package offers cannot be imported or is
                none of the kind; names the package.
        """
        package = self.package(name)
        if package is None:
            return self._read(name, self._built_in[name].load())
        (entry,) = self._installed[name].values()
        shown = f"{self.kind} '{name}' of package {package}"
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout may be read by a program
                found = entry.load()
        except (Exception, SystemExit) as error:
            reason = one_line(f"{type(error).__name__}: {error}")
            raise UserError(f"{shown} cannot be imported from {entry.value}: {reason}") from error
        try:
            return self._read(name, found)
        except TypeError as error:
            raise UserError(f"{shown} is not usable: {entry.value} {error}") from None

    def package(self, name: str) -> str | None:
        """Return name and version of the package that offers something; None if it is built in.

        Raises:
            KeyError: no such name.
            UserError: several packages offer it.
        """
        if name not in self:
            raise KeyError(name)
        packages = [*self._installed.get(name, ())]
        if len(packages) + (name in self._built_in) > 1:
            both = ", ".join(["brpnas"] * (name in self._built_in) + packages)
            raise UserError(
                f"{self.kind} '{name}' is offered by several packages: {both}; uninstall all but "
                "one, or have its author give it another name"
            )
        return packages[0] if packages else None

    @functools.cached_property
    def _installed(self) -> dict[str, dict[str, EntryPoint]]:
        """What installed packages offer, by name and package; names in alphabetical order."""
        found: dict[str, dict[str, EntryPoint]] = {}
        for package, entry in _entry_points():
            if entry.group == self.group:
                found.setdefault(entry.name, {})[package] = entry
        return dict(sorted(found.items()))


@functools.cache
def _entry_points() -> list[tuple[str, EntryPoint]]:
    """Return all entry points for brpnas, each with name and version of its package."""
    found: dict[str, list[tuple[str, EntryPoint]]] = {}
    for distribution in distributions():
        # Damaged metadata, of any package there is, are for pip to complain of.
        with contextlib.suppress(Exception):
            ours = [one for one in distribution.entry_points if one.group.startswith("brpnas.")]
            if ours:
                name = str(distribution.metadata["Name"])
                shown = one_line(f"{name} {distribution.version}", 100)
                # As for imports, what comes first on the path hides the rest.
                key = re.sub(r"[-_.]+", "-", name).lower()
                found.setdefault(key, [(shown, one) for one in ours])
    return [one for offered in found.values() for one in offered]


def subclass_of(base: type) -> Callable[[str, Any], Any]:
    """Return what lets classes of a kind through a registry, if they can be instantiated.

    Args:
        base: of the classes.
    """

    def read(_name: str, found: Any) -> Any:  # noqa: ANN401 - whatever a package offers
        if not (isinstance(found, type) and issubclass(found, base)):
            raise TypeError(f"is no subclass of {base.__module__}.{base.__qualname__}")
        if missing := sorted(getattr(found, "__abstractmethods__", ())):
            raise TypeError(f"lacks the methods {', '.join(missing)}")
        return found

    return read


def asks_for(make: Callable[..., object], name: str) -> bool:
    """Tell whether `call_with` would give it what is offered under a name."""
    return name in inspect.signature(make).parameters


def call_with(make: Callable[..., T], *arguments: object, **offered: object) -> T:
    """Call a function or a constructor with what it asks for by the names of its parameters.

    Args:
        make: what is called.
        arguments: that it gets in any case, by their places.
        offered: what it gets if it has a parameter of that name.

    Raises:
        UserError: it asks for something else.
    """
    signature = inspect.signature(make)
    options = {name: value for name, value in offered.items() if name in signature.parameters}
    try:
        signature.bind(*arguments, **options)
    except TypeError as error:
        raise UserError(
            f"{make.__module__}.{make.__qualname__}: {error}; offered by name: {', '.join(offered)}"
        ) from None
    return make(*arguments, **options)
