from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from brpnas import plugins
from brpnas.devices.connect import connect
from brpnas.devices.kinds import DEVICE_KINDS
from brpnas.devices.profile import profile_names, read_profile
from brpnas.devices.timing import TimingPlan
from brpnas.errors import UserError
from brpnas.plugins import Registry, call_with, subclass_of
from brpnas.predictors import PREDICTORS, Family
from brpnas.resolver import SPACES
from brpnas.search import STRATEGIES, Strategy
from brpnas.search.fronts import FRONT_STRATEGIES

BUILT_IN: list[Registry[Any]] = [SPACES, PREDICTORS, STRATEGIES, FRONT_STRATEGIES, DEVICE_KINDS]
Offer = Callable[..., Path]


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Offer]:
    """Install a package: what it is called, its entry points (text), the code of its module."""

    def install(
        name: str, entries: str, code: str = "", group: str = "brpnas.things", folder: str = "site"
    ) -> Path:
        site = tmp_path / folder
        info = site / f"{name.replace('-', '_')}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{entries}\n")
        (site / f"{name.replace('-', '_')}.py").write_text(code)
        if str(site) not in sys.path:
            monkeypatch.syspath_prepend(str(site))
        return site

    plugins._entry_points.cache_clear()
    for registry in BUILT_IN:
        vars(registry).pop("_installed", None)
    yield install
    plugins._entry_points.cache_clear()
    for registry in BUILT_IN:
        vars(registry).pop("_installed", None)
    for module in [name for name in sys.modules if name.startswith("offered_")]:
        del sys.modules[module]


def things(built_in: Mapping[str, str] | None = None) -> Registry[Any]:
    places = {"path": "pathlib:Path", "list": "builtins:list"} if built_in is None else built_in
    return Registry("thing", "brpnas.things", subclass_of(object), places)


@pytest.mark.parametrize("registry", BUILT_IN, ids=lambda one: one.group)
def test_what_comes_with_brpnas_goes_through_the_same_door(registry: Registry[Any]) -> None:
    assert len(registry) == len(list(registry)) > 1
    for name in registry:
        assert registry.package(name) is None
        assert registry[name] is not None
    assert "no such" not in registry
    with pytest.raises(KeyError):
        _ = registry["no such"]


def test_what_is_built_in_comes_first_and_what_is_installed_is_found(offer: Offer) -> None:
    offer("offered-a", "zebra = offered_a:Z\nant = offered_a:A", "class Z: ...\nclass A: ...\n")
    registry = things()
    assert list(registry) == ["path", "list", "ant", "zebra"]
    assert len(registry) == 4
    assert "ant" in registry
    assert "offered_a" not in sys.modules  # listing imports nothing
    assert registry["ant"].__module__ == "offered_a"
    assert registry.package("ant") == "offered-a 1.2"


@pytest.mark.parametrize(
    ("place", "code", "reason"),
    [
        ("offered_b:A", "import no_such_module", "cannot be imported from offered_b:A: Module"),
        ("offered_b:A", "def", "cannot be imported from offered_b:A: SyntaxError"),
        (
            "offered_b:A",
            "raise SystemExit(3)",
            "cannot be imported from offered_b:A: SystemExit: 3",
        ),
        ("offered_b:A", "", "cannot be imported from offered_b:A: AttributeError"),
        ("a b c", "", "cannot be imported from a b c: AttributeError"),
        ("offered_b:A", "A = 3", "is not usable: offered_b:A is no subclass of brpnas.search.str"),
        ("offered_b:A", "class A: ...", "is no subclass of brpnas.search.strategy.Strategy"),
        (
            "offered_b:A",
            "from brpnas.search import Strategy\nclass A(Strategy):\n def ask(self, n): ...",
            "is not usable: offered_b:A lacks the methods tell",
        ),
    ],
)
def test_a_broken_package_hinders_only_those_who_ask_for_it(
    offer: Offer, place: str, code: str, reason: str
) -> None:
    offer("offered-b", f"bad = {place}", code, "brpnas.strategies")
    assert "bad" in list(STRATEGIES)
    assert issubclass(STRATEGIES["random"], Strategy)
    with pytest.raises(UserError) as caught:
        _ = STRATEGIES["bad"]
    assert str(caught.value).startswith("strategy 'bad' of package offered-b 1.2 ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_belongs_to_one_package(offer: Offer) -> None:
    offer("offered-a", "list = offered_a:A\nmine = offered_a:A", "class A: ...")
    offer("offered-b", "mine = offered_b:A", "class A: ...")
    registry = things()
    assert list(registry) == ["path", "list", "mine"]
    assert registry["path"] is Path
    for name, both in (("list", "brpnas, offered-a 1.2"), ("mine", "offered-a 1.2, offered-b 1.2")):
        with pytest.raises(UserError, match=f"thing '{name}' is offered by several.*: {both};"):
            _ = registry[name]
    assert not {"offered_a", "offered_b"} & set(sys.modules)  # nor is any of them imported


def test_of_a_package_that_is_installed_twice_the_first_on_the_path_counts(offer: Offer) -> None:
    offer("offered-a", "old = offered_a:A", folder="second")
    offer("Offered_A", "new = offered_a:A", "class A: ...", folder="first")
    assert list(things({})) == ["new"]


def test_damaged_metadata_of_any_package_are_passed_over(offer: Offer) -> None:
    offer("offered-a", "no equals sign")
    offer("offered-b", "fine = offered_b:A", "class A: ...")
    site = offer("offered-c", "x = offered_c:A")
    (site / "offered_c-1.2.dist-info" / "entry_points.txt").write_bytes(b"\xff\xfe[brpnas")
    assert list(things({})) == ["fine"]


def test_what_a_package_prints_leaves_stdout_alone(
    offer: Offer, capsys: pytest.CaptureFixture[str]
) -> None:
    offer("offered-a", "a = offered_a:A", "print('hello')\nclass A: ...")
    assert things()["a"].__name__ == "A"
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hello\n")


def test_nothing_is_loaded_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lying.py").write_text("raise RuntimeError('was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("lying", "lying:A", "lying.py", "./lying.py", "os:system", ""):
        assert name not in STRATEGIES
        with pytest.raises(KeyError):
            _ = STRATEGIES[name]


def test_a_space_has_the_name_of_its_entry_point(offer: Offer) -> None:
    code = "from brpnas.spaces import NASBench201\nclass A(NASBench201):\n name = 'other'"
    offer("offered-a", "mine = offered_a:A", code, "brpnas.spaces")
    with pytest.raises(UserError, match="offered_a:A has the name 'other'; accepted: 'mine'"):
        _ = SPACES["mine"]


def test_a_family_of_two_predictors_and_one_that_is_none(offer: Offer) -> None:
    code = (
        "from brpnas.predictors import Family\n"
        "good = Family('brpnas.predictors.gcn:GCNRegressor', 'brpnas.predictors.gp:GPRanker')\n"
        "bad = Family('brpnas.predictors.gcn:Missing', 'brpnas.errors:UserError')\n"
    )
    offer("offered-a", "good = offered_a:good\nbad = offered_a:bad", code, "brpnas.predictors")
    assert isinstance(PREDICTORS["good"], Family)
    assert PREDICTORS["good"].ranker.__name__ == "GPRanker"
    with pytest.raises(UserError, match=r"predictor brpnas.predictors.gcn:Missing is not usable"):
        _ = PREDICTORS["bad"].regressor
    with pytest.raises(UserError, match=r"errors:UserError is not usable: is no subclass of"):
        _ = PREDICTORS["bad"].ranker


def test_devices(offer: Offer, tmp_path: Path) -> None:
    code = "def nothing(plan): return plan\n"
    entries = "mine = offered_a:nothing\npixel4 = offered_a:nothing\nname = offered_a:__name__"
    offer("offered-a", entries, code, "brpnas.devices")
    assert profile_names()[-2:] == ["mine", "name"]
    assert read_profile("mine").kind == "mine"
    assert read_profile("local").kind == "local"
    with pytest.raises(UserError, match=r"device 'mine' of package offered-a .* is not usable: it"):
        connect(read_profile("mine"), TimingPlan())
    with pytest.raises(
        UserError, match=r"name' of package offered-a 1.2 is not usable: .* neither"
    ):
        connect(read_profile("name"), TimingPlan())
    with pytest.raises(UserError, match="--address goes with devices that have one, which device"):
        connect(read_profile("mine"), TimingPlan(), address="1.2.3.4")
    with pytest.raises(UserError, match="'pixel4' is offered by several packages: brpnas, offered"):
        read_profile("pixel4")
    with pytest.raises(UserError, match=r"unknown device 'mime'. Did you mean 'mine'\?"):
        read_profile("mime")
    (tmp_path / "own.toml").write_text('title = "x"\nkind = "mine"\nthreads = 2\n')
    assert read_profile(str(tmp_path / "own.toml")).threads == 2
    (tmp_path / "own.toml").write_text('title = "x"\nkind = "mine"\n[adb]\n')
    with pytest.raises(UserError, match="'adb' has no meaning for kind = \"mine\""):
        read_profile(str(tmp_path / "own.toml"))
    (tmp_path / "own.toml").write_text('title = "x"\nkind = "ours"\n')
    with pytest.raises(UserError, match='accepted: "local" or "adb" or "mine" or "name"'):
        read_profile(str(tmp_path / "own.toml"))


def test_a_constructor_gets_what_it_asks_for() -> None:
    def make(problem: str, seed: int, budget: int = 3, *, ranker: str) -> tuple[object, ...]:
        return problem, seed, budget, ranker

    assert call_with(make, "p", 1, ranker="r", latency="l") == ("p", 1, 3, "r")
    with pytest.raises(UserError, match=r"missing a required.*'ranker'; offered by name: latency"):
        call_with(make, "p", 1, latency="l")


def test_the_command_says_so_too(offer: Offer) -> None:
    site = offer("offered-a", "bad = offered_a:A", "import gone", "brpnas.strategies")
    # Lies in the current folder, which is not where packages are installed.
    here = offer("offered-b", "local = offered_b:A", "", "brpnas.devices", folder="here")

    def brpnas(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name("brpnas")
        environment = {**os.environ, "PYTHONPATH": str(site)}
        return subprocess.run(
            [program, *arguments],
            cwd=here,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    assert brpnas("--help").returncode == 0
    assert json.loads(brpnas("devices", "list", "--json").stdout)["devices"]
    bad = brpnas("search", "--strategy", "bad", "--budget", "10")
    assert (bad.returncode, bad.stdout, bad.stderr.count("\n")) == (2, "", 1)
    assert bad.stderr.startswith(
        "error: strategy 'bad' of package offered-a 1.2 cannot be imported"
    )
