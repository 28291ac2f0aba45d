"""The house rules of the design, checked on the source."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import brpnas

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("predictors", "devices", "datasets")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS: dict[str, Any] = PROJECT["tool"]["setuptools"]

# What each part imports, besides itself and third parties; it may import nothing else.
ALLOWED: dict[str, set[str]] = {
    "__main__": {"cli"},
    "costs": set(),
    "errors": set(),
    "evaluating": set(),
    "executors": {"errors"},
    "files": set(),
    "plugins": {"errors"},
    "quiet": set(),
    "reproducible": set(),
    "lowrank": {"errors", "evaluating", "files", "quiet"},
    "spaces": {"errors", "lowrank"},
    "datasets": {"costs", "errors", "spaces"},
    "predictors": {"errors", "files", "plugins", "spaces", "reproducible"},
    "devices": {"errors", "evaluating", "executors", "foreign", "plugins", "quiet", "spaces"},
    "foreign": {"errors"},
    "images": {"errors"},
    "models": {"errors", "foreign", "images"},
    "evaluate": {
        *("errors", "files", "spaces", "datasets", "devices", "executors", "reproducible"),
        *("evaluating", "images", "lowrank", "models"),
    },
    "compressing": {
        *("errors", "lowrank", "spaces", "models", "images", "devices", "executors", "predictors"),
        *("evaluate", "plugins", "search", "run", "resolver"),
    },
    "exporting": {"errors", "foreign", "devices", "lowrank", "models", "quiet"},
    "values": set(),
    "run": {"errors", "files", "values"},
    "search": {
        *("costs", "errors", "lowrank", "spaces", "predictors", "evaluate.evaluator", "run"),
        "plugins",
    },
    "resolver": {"errors", "spaces", "datasets", "executors", "predictors", "plugins", "search"},
    "sources": {
        *("errors", "spaces", "datasets", "devices", "executors", "evaluate", "search"),
        "resolver",
    },
    "judging": {"errors", "spaces", "datasets", "predictors"},
    "measuring": {"errors", "spaces", "datasets", "devices", "executors", "resolver"},
    "comparing": {
        *("errors", "files", "values", "spaces", "datasets", "executors", "predictors", "run"),
        *("judging", "resolver"),
    },
}
FREE = {"cli", "report", "testing"}


def _sources() -> dict[str, Path]:
    """Every module of the package, by the name it is imported by."""
    found = {}
    for top in ("brpnas", *ROOMS):
        for path in (ROOT / top).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join(parts if top == "brpnas" else ("brpnas", *parts))] = path
    return found


SOURCES = _sources()


def _imports(name: str) -> Iterator[str]:
    """Modules of the package that a module imports, wherever in its text."""
    for node in ast.walk(ast.parse(SOURCES[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in SOURCES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in SOURCES:
                    yield inner
                elif node.module in SOURCES:
                    yield str(node.module)


def _room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def test_something_is_checked() -> None:
    assert {"brpnas", "brpnas.datasets.table", "brpnas.devices.device"} < set(SOURCES)
    assert set(_imports("brpnas.spaces.nasbench201")) >= {"brpnas.errors", "brpnas.spaces.space"}


def test_packages_are_the_folders_with_python_in_them() -> None:
    folders = {
        name if path.name == "__init__.py" else name.rpartition(".")[0]
        for name, path in SOURCES.items()
    }
    assert sorted(folders) == sorted(SETUPTOOLS["packages"])
    for package in folders:
        assert SOURCES[package].name == "__init__.py"


def test_rooms_are_mapped_to_their_folders() -> None:
    mapped = {f"brpnas.{room}": room for room in ROOMS}
    assert SETUPTOOLS["package-dir"] == {"brpnas": "brpnas", **mapped}
    for room in ROOMS:
        imported = importlib.import_module(f"brpnas.{room}").__file__
        assert imported is not None
        assert Path(imported).resolve() == ROOT / room / "__init__.py"


def test_package_data_exist_and_nothing_else_is_left_out() -> None:
    declared = set()
    for package, patterns in SETUPTOOLS["package-data"].items():
        folder = SOURCES[package].parent
        for pattern in patterns:
            files = set(folder.glob(pattern))
            assert files, f"no {pattern} in {folder}"
            declared |= files
    others = {
        path
        for top in ("brpnas", *ROOMS)
        for path in (ROOT / top).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".md")
    }
    assert others == declared


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_refuse_their_bare_name(room: str) -> None:
    spec = importlib.util.spec_from_file_location(room, ROOT / room / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match=f"import this package as 'brpnas.{room}'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_every_part_has_a_rule() -> None:
    parts = {_room(name) for name in SOURCES} - {""}
    assert parts <= set(ALLOWED) | FREE, "say in ALLOWED what the new part may import"


def _within(imported: str, rule: str) -> bool:
    """Whether a rule is about an imported module, or a package that it lies in."""
    return f"{imported}.".startswith(f"brpnas.{rule}.")


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_imports_point_one_way(name: str) -> None:
    part = _room(name)
    if part not in ALLOWED:
        return
    for imported in _imports(name):
        allowed = any(_within(imported, rule) for rule in ALLOWED[part])
        assert allowed or _room(imported) in {"", part}, f"{name} must not import {imported}"


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_nothing_is_allowed_that_is_not_imported(part: str) -> None:
    imports = {other for name in SOURCES if _room(name) == part for other in _imports(name)}
    for rule in ALLOWED[part]:
        assert any(_within(imported, rule) for imported in imports), f"{part}: {rule}"


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {name: set(_imports(name)) for name in SOURCES}
    while graph:
        # A module that imports nothing that is left is part of no cycle.
        free = {name for name, imported in graph.items() if not imported & set(graph)}
        assert free, f"cycle among {sorted(graph)}"
        graph = {name: imported for name, imported in graph.items() if name not in free}


def _lines(path: Path) -> int:
    """Lines of a program; those of a notebook's cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return len(text.splitlines())


def test_no_file_is_longer_than_500_lines() -> None:
    folders = ("brpnas", *ROOMS, "tests", "benchmarks", "docs", "examples")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    notebooks = list((ROOT / "notebooks").glob("*.ipynb"))
    assert min(map(_lines, notebooks)) > 20
    assert not [str(path) for path in (*paths, *notebooks) if _lines(path) > 500]


def _constructor_parameters(node: ast.ClassDef) -> int:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            arguments = item.args
            return len([*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]) - 1
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
        return sum("init=False" not in ast.unparse(item) for item in fields)
    return 0


def test_constructors_are_counted() -> None:
    plain = "class A:\n def __init__(self, a, b=1, *, c): ..."
    data = "@dataclass(frozen=True)\nclass A:\n a: int\n b: int = 3\n c: int = field(init=False)"
    for source, count in ((plain, 3), (data, 2), ("class A: ...", 0)):
        (node,) = ast.parse(source).body
        assert isinstance(node, ast.ClassDef)
        assert _constructor_parameters(node) == count


def test_no_constructor_has_more_than_8_parameters() -> None:
    counts = {
        f"{name}.{node.name}": _constructor_parameters(node)
        for name, path in SOURCES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    assert not {name for name, count in counts.items() if count > 8}


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_only_the_command_line_prints(name: str) -> None:
    if _room(name) == "cli":
        return
    for node in ast.walk(ast.parse(SOURCES[name].read_text())):
        printing = isinstance(node, ast.Name) and node.id == "print"
        assert not printing, f"{name} prints"


def test_version_is_that_of_the_project() -> None:
    assert brpnas.__version__ == PROJECT["project"]["version"]
