"""The pages are built, and what they say of commands, files and rooms is compared with the code."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from torch import nn
from typer.main import get_command

from brpnas.cli import app
from brpnas.datasets import Card, embedded_names, open_table
from brpnas.devices.store import Store
from brpnas.lowrank import Recipe
from brpnas.lowrank.recipe import save_recipe
from brpnas.lowrank.surgery import Report
from brpnas.predictors import PREDICTORS
from brpnas.predictors.saved import Provenance, save_predictor
from brpnas.run import Run, Step
from brpnas.spaces import NASBench201

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
OUTSIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
TEXTS = {**PAGES, **{name: (ROOT / name).read_text(encoding="utf-8") for name in OUTSIDE}}
FENCE = re.compile(r"^ *```(\w*)[^\n`]*\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
PROGRAM: Any = get_command(app)


@pytest.fixture(scope="module")
def generate() -> Iterator[ModuleType]:
    """The program that writes what the pages take from the code."""
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module("generate")
    sys.path.remove(str(DOCS))


@pytest.fixture(scope="module")
def rooms(generate: ModuleType) -> ModuleType:
    """What draws the picture."""
    assert generate.picture
    return importlib.import_module("rooms")


def blocks(text: str, *languages: str) -> list[str]:
    return [content for language, content in FENCE.findall(text) if language in languages]


# The site


def test_it_is_built_without_a_warning_and_needs_no_network(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path))
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    built = {path.stem for path in tmp_path.glob("*.html")}
    assert built >= {name.removesuffix(".md") for name in PAGES}
    for path in tmp_path.glob("*.html"):
        tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", path.read_text(encoding="utf-8"))
        assert tags
        assert not [tag for tag in tags if re.search(r"(?:src|href)=\"?(?:https?:)?//", tag)], path


def test_no_page_names_a_place_of_somebodys_machine() -> None:
    for name, text in TEXTS.items():
        assert not re.findall(r"(?<!\w)/(?:work|tmp|home|root)/\S*", text), name


# What is taken from the code


def test_what_is_generated_is_what_the_code_says(generate: ModuleType) -> None:
    for path, text in generate.generated().items():
        assert path.read_text(encoding="utf-8") == text, "run: python docs/generate.py"


def test_the_options_of_every_command_are_on_its_page(generate: ModuleType) -> None:
    found = {
        command: name
        for name, text in PAGES.items()
        for command in re.findall(r"<!-- options: ([\w ]+) -->", text)
    }
    assert found == {command: f"{command.split()[0]}.md" for command in generate.commands()}
    assert "`--budget`" in generate.options("search")


def test_the_picture_has_every_part_and_an_arrow_for_every_rule(rooms: ModuleType) -> None:
    rules: dict[str, frozenset[str]] = rooms.rules()
    picture = (DOCS / "images" / "rooms.svg").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", " ".join(re.findall(r">([^<>]+)</text>", picture))))
    assert set(rules) <= words
    helpers = set(rooms._helpers(rules))
    assert "errors" in helpers
    graph = {part: below - helpers for part, below in rules.items() if part not in helpers}
    arrows = rooms._arrows(graph)
    assert picture.count("marker-end") == len(arrows)
    drawn = {part: frozenset(end for start, end in arrows if start == part) for part in graph}
    for part, below in graph.items():
        assert below <= rooms._reach(drawn, part)  # by one arrow or several
        assert rooms._reach(drawn, part) <= rooms._reach(graph, part)


# Commands


def command_lines(text: str) -> Iterator[list[str]]:
    """Every ``brpnas ...`` of the blocks, as words."""
    for block in blocks(text, "", "sh", "console"):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            try:
                words = list(lexer)
            except ValueError:  # what a program printed, with an apostrophe
                continue
            part: list[str] = []
            for word in [*words, ";"]:
                if set(word) <= set("();<>|&"):
                    if part and Path(part[0]).name == "brpnas" and "│" not in part:
                        yield part[1:]
                    part = []
                else:
                    part.append(word)


def below(words: list[str]) -> tuple[Any, list[str], list[str]]:
    """The command that words name, its name, and the rest of the words."""
    command, name = PROGRAM, list[str]()
    while hasattr(command, "commands") and len(words) > len(name):
        word = words[len(name)]
        if word.startswith("-"):
            break
        assert word in command.commands, f"brpnas {' '.join(words)}"
        command = command.commands[word]
        name.append(word)
    return command, name, words[len(name) :]


@pytest.mark.parametrize("page", sorted(TEXTS))
def test_commands_in_blocks_are_taken(page: str) -> None:
    for words in command_lines(TEXTS[page]):
        command, name, rest = below(words)
        try:
            command.make_context(" ".join(name), rest)  # parses, and runs nothing
        except Exception as error:
            raise AssertionError(f"{page}: brpnas {shlex.join(words)}: {error}") from error


def test_commands_are_found() -> None:
    found = [shlex.join(words) for text in TEXTS.values() for words in command_lines(text)]
    assert len(found) > 40
    assert "search --predictor gcn" in found  # behind &&
    assert "measure --suggest 10 --transfer nasbench201.parquet" in found  # before >
    with pytest.raises(AssertionError, match="serach"):
        below(["serach"])


@pytest.mark.parametrize("page", sorted(TEXTS))
def test_commands_within_lines_have_their_options(page: str) -> None:
    lines = FENCE.sub("", TEXTS[page])
    for span in re.findall(r"(?<!`)`brpnas ([^`]+)`(?!`)", lines):
        words = shlex.split(span)
        command, _, rest = below(words)
        known = {
            *("--help", "-h"),
            *(option for one in command.params for option in (*one.opts, *one.secondary_opts)),
        }
        for word in rest:
            assert not word.startswith("-") or word in known, f"{page}: brpnas {span}"


BENCHMARK = re.compile(r"python (benchmarks/\w+\.py)((?: [^\n`|]+)?)")


@pytest.mark.parametrize("page", sorted(TEXTS))
def test_benchmarks_are_there_and_have_their_options(page: str) -> None:
    for script, rest in BENCHMARK.findall(TEXTS[page]):
        source = (ROOT / script).read_text(encoding="utf-8")
        for option in re.findall(r"--[\w-]+", rest):
            assert f'"{option}"' in source, f"{page}: {script} {option}"


# Figures


def test_every_section_of_results_has_a_command() -> None:
    sections = re.split(r"^## ", PAGES["results.md"], flags=re.MULTILINE)[1:]
    assert len(sections) > 8
    for section in sections:
        title = section.splitlines()[0]
        assert BENCHMARK.search(section) or "brpnas " in section, title


def test_the_figures_of_the_readme_are_among_the_results() -> None:
    figures = TEXTS["README.md"].split("## Figures")[1].split("\n## ")[0]
    rows = [line for line in figures.splitlines() if line.startswith("| ")]
    assert len(rows) > 20
    for row in rows:
        assert row in PAGES["results.md"], row


# Links


def anchors(text: str) -> set[str]:
    from markdown.extensions.toc import slugify

    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {slugify(title.replace("`", ""), "-") for title in titles}


@pytest.mark.parametrize("name", OUTSIDE)
def test_links_from_outside_the_site_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", TEXTS[name])):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        assert (ROOT / path).exists(), link
        if anchor:
            assert anchor in anchors(TEXTS[Path(path).name] if path else TEXTS[name]), link


# Code


@pytest.mark.parametrize("page", sorted(TEXTS))
def test_python_blocks_can_be_read_and_import_what_there_is(page: str) -> None:
    for block in blocks(TEXTS[page], "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("brpnas."):
                module = importlib.import_module(str(node.module))
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{page}: {node.module}.{alias.name}"


def run_page(page: str, folder: Path) -> None:
    """Do what a page says: write its programs, run its commands marked ``sh``, in their order."""
    for language, content in FENCE.findall(PAGES[page]):
        if language == "python":
            name = content.splitlines()[0].removeprefix("# ")
            (folder / name).write_text(content, encoding="utf-8")
            if name == "look.py":
                subprocess.run([sys.executable, name], cwd=folder, check=True)
        if language != "sh":
            continue
        for line in content.splitlines():
            words = shlex.split(line)
            program = [sys.executable]
            if words[0] == "brpnas":
                program += ["-c", "from brpnas.cli import main; main()"]
            subprocess.run([*program, *words[1:]], cwd=folder, check=True, timeout=600)


@pytest.mark.slow
def test_the_first_search_runs(tmp_path: Path) -> None:
    run_page("first-search.md", tmp_path)
    record = json.loads((tmp_path / "fast/run.json").read_text())
    assert record["result"]["best"]["latency_ms"] <= 1.0
    assert (tmp_path / "first/report.html").is_file()


@pytest.mark.slow
def test_bringing_a_network_runs(tmp_path: Path) -> None:
    run_page("own-network.md", tmp_path)
    table = open_table(tmp_path / "here.csv").frame
    assert len(table) == 3
    assert (table["latency_ms"] > 0).all()
    before, after = json.loads((tmp_path / "run/run.json").read_text())["result"], 4
    assert before["front"][after]["macs_reduction_pct"] > 40


# File formats


def test_every_key_of_a_file_is_described(tmp_path: Path) -> None:
    page = PAGES["formats.md"]
    keys = {field.name for field in fields(Card)}
    with Run(tmp_path / "run", {"command": "brpnas"}, seed=0) as run:
        run.append(Step(0, "random", "a", {"x": 1.0}))
        run.finish({})
    record = json.loads((tmp_path / "run/run.json").read_text())
    keys |= {*record, *record["versions"], "step", "iteration", "origin", "arch", "expected"}
    model = nn.Sequential(nn.Linear(2, 2))
    save_recipe(tmp_path / "r.json", model, model, Report({}, {}), "none")
    keys |= set(json.loads((tmp_path / "r.json").read_text()))
    assert {field.name for field in fields(Recipe)} - {"state"} <= keys
    space, table = NASBench201(), open_table("litert201")
    graphs = [space.graph(space.parse(text)) for text in table.archs[1:21]]
    predictor = PREDICTORS["flops"].regressor(0, 0.0)
    predictor.fit(graphs, table.metric("latency_ms")[1:21])
    save_predictor(tmp_path / "p", predictor, Provenance("latency_ms", "t", "", 20, 0, 0))
    description = json.loads((tmp_path / "p/predictor.json").read_text())
    keys |= {*description, *description["provenance"], *description["schema"]}
    Store(tmp_path / "s.sqlite").close()
    with sqlite3.connect(tmp_path / "s.sqlite") as store:
        for table_name in ("series", "models", "rounds"):
            keys.add(table_name)
            keys |= {row[1] for row in store.execute(f"PRAGMA table_info({table_name})")}
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", FENCE.sub("", page)))))
    assert keys - words - {"brpnas", "torch", "numpy", "python"} == set()
    assert {"brpnas", "torch", "numpy", "python"} <= set(re.findall(r"\w+", page))


def test_every_table_of_the_package_is_named() -> None:
    assert all(f"`{name}`" in PAGES["datasets.md"] for name in embedded_names())
