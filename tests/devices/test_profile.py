from __future__ import annotations

from pathlib import Path

import pytest

from brpnas.devices.profile import AdbSettings, Profile, profile_names, read_profile
from brpnas.errors import UserError

PHONE = 'title = "mine"\nkind = "adb"\n'


def write(folder: Path, text: str) -> str:
    path = folder / "my_phone.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", profile_names())
def test_built_in_profiles_can_be_read(name: str) -> None:
    profile = read_profile(name)
    assert profile.name == name
    assert profile.title
    assert "cpu" in profile.delegates
    assert (profile.kind == "adb") == (profile.adb is not None)


def test_these_are_the_profile_names() -> None:
    assert profile_names() == ["adb", "local", "pixel4", "pixel6", "raspberrypi5"]
    pixel4 = read_profile("pixel4")
    assert (pixel4.cpu_mask, pixel4.cores, pixel4.first_core) == ("70", 3, 4)
    assert set(pixel4.delegates) == {"cpu", "gpu", "dsp"}
    assert read_profile("local").kind == "local"
    assert (read_profile("adb").cores, read_profile("adb").first_core) == (None, 0)


def test_the_least_profile(tmp_path: Path) -> None:
    profile = read_profile(write(tmp_path, PHONE))
    assert profile == Profile("my_phone", "mine", "adb", adb=AdbSettings())
    assert profile.delegates == {"cpu": ()}


def test_all_keys(tmp_path: Path) -> None:
    (tmp_path / "bench").write_bytes(b"program")
    text = PHONE + (
        'threads = 2\ncpu_mask = "0xF0"\n'
        '[delegates]\ncpu = []\nnpu = ["--external_delegate_path=/data/local/tmp/x.so"]\n'
        '[adb]\ntransport = "adbutils"\nserial = "A1"\naddress = "phone:5555"\n'
        'models = ["Phone 1"]\nbinary = "/data/b"\npush_binary = "bench"\nfolder = "/data/m/"\n'
        "[thermal]\nmax_celsius = 38\nwait_s = 60.5\n"
    )
    profile = read_profile(write(tmp_path, text))
    assert (profile.threads, profile.cpu_mask, profile.cores) == (2, "f0", 4)
    assert profile.delegates["npu"] == ("--external_delegate_path=/data/local/tmp/x.so",)
    assert profile.adb == AdbSettings(
        "adbutils",
        "A1",
        "phone:5555",
        ("Phone 1",),
        "/data/b",
        tmp_path / "bench",
        "binary",
        "/data/m",
    )
    assert profile.thermal is not None
    assert (profile.thermal.max_celsius, profile.thermal.wait_s) == (38.0, 60.5)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('kind = "adb"\n', "'title' is missing"),
        ('title = "x"\n', "'kind' is missing"),
        ('title = ""\nkind = "adb"\n', "'title' is ''; accepted: a text"),
        ('title = "x"\nkind = "ssh"\n', """'kind' is 'ssh'; accepted: "local" or "adb\""""),
        (PHONE + "thread = 1\n", "unknown key 'thread'. Did you mean 'threads'?"),
        (PHONE + "threads = 0\n", "'threads' is 0; accepted: a whole number from 1"),
        (PHONE + "threads = true\n", "'threads' is True"),
        (PHONE + "cpu_mask = 70\n", "'cpu_mask' is 70; accepted: a hexadecimal text"),
        (PHONE + 'cpu_mask = "0"\n', "at least one core"),
        (PHONE + 'cpu_mask = "7g"\n', "hexadecimal"),
        (PHONE + "adb = 1\n", "'adb' is 1; accepted: a table"),
        (PHONE + '[adb]\nserail = "x"\n', "unknown key 'adb.serail'"),
        (PHONE + '[adb]\ntransport = "ssh"\n', "'adb.transport' is 'ssh'"),
        (PHONE + '[adb]\nmodels = "Pixel 4"\n', "'adb.models' is 'Pixel 4'; accepted: a list"),
        (PHONE + '[adb]\nfolder = "tmp"\n', "'adb.folder' is 'tmp'; accepted: a full path"),
        (PHONE + '[adb]\nfolder = "/a; rm -rf /"\n', "'adb.folder'"),
        (PHONE + '[adb]\nfolder = "/a/../b"\n', "'adb.folder'"),
        (PHONE + '[adb]\nbinary = "/a\\n/b"\n', "'adb.binary'"),
        (PHONE + '[adb]\npush_binary = "nothing"\n', "'adb.push_binary' is 'nothing'"),
        (PHONE + "[delegates]\n", "'delegates' is {}"),
        (PHONE + '[delegates]\ncpu = ["--x=1"]\n', "no flags for cpu"),
        (PHONE + "[delegates]\ncpu = []\ngpu = []\n", "'delegates.gpu' is []"),
        (PHONE + '[delegates]\ngpu = ["--use_gpu=$(id)"]\n', "'delegates.gpu'"),
        (PHONE + '[delegates]\ngpu = ["use_gpu"]\n', "flags such as --use_gpu=true"),
        (PHONE + "[thermal]\nwait_s = 1\n", "'thermal.max_celsius' is missing"),
        (PHONE + "[thermal]\nmax_celsius = -1\n", "'thermal.max_celsius' is -1"),
        (PHONE + 'cpu_mask = "f"\n[adb]\nrunner = "apk"\n', "'cpu_mask' has no effect on"),
        ('title = "x"\nkind = "local"\ncpu_mask = "f"\n', "'cpu_mask' has no meaning for"),
        ('title = "x"\nkind = "local"\n[adb]\n', "'adb' has no meaning for"),
        ("title = \n", "not a TOML file"),
        ("\udcff", "not UTF-8"),
    ],
)
def test_bad_profiles(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "my_phone.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError) as error:
        read_profile(str(path))
    assert str(error.value).startswith(f"{path}: ")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_no_such_profile(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown device 'pixel5'. Did you mean 'pixel[46]'.*toml"):
        read_profile("pixel5")
    with pytest.raises(UserError, match=r"absent.toml: cannot be read: No such file"):
        read_profile(str(tmp_path / "absent.toml"))
