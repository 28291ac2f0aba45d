from __future__ import annotations

from pathlib import Path

import pytest

from brpnas.devices.fpga import built_in_platforms, read_platform
from brpnas.devices.fpga.platform import Platform
from brpnas.errors import UserError

# Of the boards on which designs are compared: DSP, BRAM, LUT, FF, URAM, MHz, Gbit/s, port width.
COMPARED = {
    "zc706": (900, 1090, 218_600, 437_200, 0, 200, 102.4, 128),
    "zedboard": (220, 280, 53_200, 106_400, 0, 200, 34.1, 128),
    "zcu104": (1728, 624, 230_400, 460_800, 96, 200, 153.6, 512),
    "zcu102": (2520, 1824, 274_080, 548_160, 0, 200, 153.6, 512),
    "u50": (5952, 2688, 871_680, 1_743_360, 640, 250, 1608, 512),
    "u200": (6840, 4320, 1_182_000, 2_364_000, 960, 250, 614.4, 512),
    "u250": (12288, 5376, 1_728_000, 3_456_000, 1280, 250, 614.4, 512),
}
NUMBERS = ("clock_mhz", "memory_gbit_per_s", "port_width", "reconfiguration_s")
TOP = {"title": '"mine"', "clock_mhz": 100, "memory_gbit_per_s": 12.5, "port_width": 64}
TOP |= {"reconfiguration_s": 0.5}
RESOURCES = {"DSP": 90, "BRAM": 50, "LUT": 20000, "FF": 40000, "URAM": 0}
SOURCES = dict.fromkeys(("resources", *NUMBERS), '"the maker"')


def write(folder: Path, **changes: object) -> str:
    """Write a platform; a change is of ``key`` or ``table__key``, and None leaves the key out."""
    text = ""
    for table, values in (("", TOP), ("resources", RESOURCES), ("sources", SOURCES)):
        prefix = f"{table}__" if table else ""
        own = {
            key.removeprefix(prefix): value
            for key, value in changes.items()
            if key.startswith(prefix) and ("__" in key) == bool(table)
        }
        text += f"[{table}]\n" if table else ""
        for key, value in {**values, **own}.items():
            text += "" if value is None else f"{key} = {value}\n"
    path = folder / "my_board.toml"
    path.write_text(text)
    return str(path)


def test_these_are_the_built_in_platforms() -> None:
    assert set(built_in_platforms()) == {*COMPARED, "zcu106", "vc709"}
    zcu106 = read_platform("zcu106")
    assert zcu106.resources == read_platform("zcu104").resources  # the same device
    assert read_platform("vc709").resources["DSP"] == 3600


@pytest.mark.parametrize("name", COMPARED)
def test_limits_of_the_compared_platforms(name: str) -> None:
    found = read_platform(name)
    count = found.resources
    assert COMPARED[name] == (
        *(count[resource] for resource in ("DSP", "BRAM", "LUT", "FF", "URAM")),
        *(found.clock_mhz, found.memory_gbit_per_s, found.port_width),
    )
    assert found.reconfiguration_s == 0.08255


@pytest.mark.parametrize("name", built_in_platforms())
def test_every_number_has_a_source(name: str) -> None:
    found = read_platform(name)
    assert found.name == name
    assert set(found.sources) == {"resources", *NUMBERS}


def test_a_platform_of_the_user(tmp_path: Path) -> None:
    assert read_platform(write(tmp_path)) == Platform(
        "my_board", "mine", RESOURCES, 100, 12.5, 64, 0.5, dict.fromkeys(SOURCES, "the maker")
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"title": None}, "'title' is missing"),
        ({"title": '" "'}, "'title' is ' '; accepted: a text"),
        ({"resources__DSP": 0}, "'resources.DSP' is 0; accepted: a whole number from 1"),
        ({"resources__LUT": -5}, "'resources.LUT' is -5; accepted: a whole number from 1"),
        ({"resources__BRAM": 1.5}, "'resources.BRAM' is 1.5"),
        ({"resources__URAM": -1}, "'resources.URAM' is -1; accepted: a whole number from 0"),
        ({"resources__FF": "true"}, "'resources.FF' is True"),
        ({"resources__FF": None}, "'resources.FF' is missing"),
        ({"resources__LUTS": 5}, "unknown key 'resources.LUTS'"),
        ({"clock_mhz": 0}, "'clock_mhz' is 0; accepted: a number above 0"),
        ({"clock_mhz": "nan"}, "'clock_mhz' is nan; accepted: a number above 0"),
        ({"clock_mhz": "inf"}, "'clock_mhz' is inf; accepted: a number above 0"),
        ({"clock_mhz": "true"}, "'clock_mhz' is True"),
        ({"memory_gbit_per_s": '"fast"'}, "'memory_gbit_per_s' is 'fast'"),
        ({"port_width": 0}, "'port_width' is 0; accepted: a whole number from 1"),
        ({"clock": 5}, "unknown key 'clock'. Did you mean 'clock_mhz'?"),
        ({"sources__clock_mhz": None}, "'sources.clock_mhz' is missing"),
        ({"sources__clock_mhz": 3}, "'sources.clock_mhz' is 3; accepted: a text"),
    ],
)
def test_bad_platforms(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(UserError) as error:
        read_platform(path)
    assert str(error.value).startswith(f"{path}: ")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"title = ", "not a TOML file"),
        (b"\xff", "cannot be read: not UTF-8 text"),
        (
            b'resources = 1\nsources = 1\ntitle = "x"\nclock_mhz = 1\nport_width = 1\n'
            b"memory_gbit_per_s = 1\nreconfiguration_s = 1\n",
            "'resources' is 1; accepted: a table",
        ),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "board.toml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=reason):
        read_platform(str(path))


def test_no_such_platform(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"unknown platform 'zc70'. Did you mean 'zc706'.*u200.*toml"
    ):
        read_platform("zc70")
    with pytest.raises(UserError, match=r"absent.toml: cannot be read: No such file"):
        read_platform(str(tmp_path / "absent.toml"))


@pytest.mark.parametrize("name", built_in_platforms())
def test_the_page_shows_the_limits(name: str) -> None:
    found = read_platform(name)
    counts = [f"{found.resources[key]:,}" for key in ("DSP", "BRAM", "LUT", "FF", "URAM")]
    row = [f"`{name}`", found.title, *counts]
    row += [f"{found.clock_mhz:g}", f"{found.memory_gbit_per_s:g}"]
    page = Path(__file__).parents[3] / "docs" / "fpga.md"
    assert f"| {' | '.join(row)} |" in page.read_text()
