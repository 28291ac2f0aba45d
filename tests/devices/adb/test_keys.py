from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from adb_shell.auth.keygen import keygen
from emulator import is_signed, public_numbers

from brpnas.devices.adb import keys
from brpnas.devices.adb.keys import find_key
from brpnas.errors import UserError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_made_once_for_its_user_only(home: Path) -> None:
    key = find_key()
    assert key == home / ".config/brpnas/adb/adbkey"
    assert mode(key) == 0o600
    assert mode(key.parent) == 0o700
    content = key.read_bytes()
    assert find_key().read_bytes() == content
    assert [path.name for path in key.parent.parent.iterdir()] == ["adb"]


def test_its_public_key_verifies_what_it_signs() -> None:
    from adb_shell.auth.sign_pythonrsa import PythonRSASigner

    signer = PythonRSASigner.FromRSAKeyPath(str(find_key()))
    public = public_numbers(signer.GetPublicKey().encode())
    token = bytes(range(20))
    assert is_signed(public, token, signer.Sign(token))
    assert not is_signed(public, token[::-1], signer.Sign(token))


def test_the_configuration_folder_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    assert find_key() == tmp_path / "settings/brpnas/adb/adbkey"


def test_open_permissions_are_closed() -> None:
    key = find_key()
    key.chmod(0o644)
    assert mode(find_key()) == 0o600


def test_a_key_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    find_key()
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    with pytest.raises(UserError, match="belongs to another user"):
        find_key()


def test_androids_own_key_is_taken_unless_others_may_read_it(home: Path) -> None:
    android = home / ".android" / "adbkey"
    android.parent.mkdir()
    keygen(str(android))
    android.chmod(0o640)
    with pytest.raises(UserError, match=f"chmod 600 {android}"):
        find_key()
    android.chmod(0o600)
    assert find_key() == android


def test_of_two_processes_that_make_a_key_the_first_wins() -> None:
    first = find_key()
    content = first.read_bytes()
    keys._make(first.parent)
    assert first.read_bytes() == content
    assert [path.name for path in first.parent.parent.iterdir()] == ["adb"]
