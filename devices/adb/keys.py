"""The key that this user shows to phones."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from brpnas.errors import UserError

__all__ = ["find_key"]


def find_key() -> Path:
    """Return the private key to authorise with; its public key lies beside it, ending in .pub.

    Android's own key in ``~/.android/adbkey`` is taken if there is one: phones may know it.
    Otherwise this project's key in the user's configuration folder, made at the first use.

    Raises:
        UserError: a key that others may read or that belongs to another user.
    """
    android = Path.home() / ".android" / "adbkey"
    if android.is_file() and android.with_suffix(".pub").is_file():
        if _open_to_others(android):
            raise UserError(
                f"{android} can be read by other users, who could control your phones with it: "
                f"run chmod 600 {android}"
            )
        return android
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    folder = Path(base) / "brpnas" / "adb"
    key = folder / "adbkey"
    if not key.is_file():
        _make(folder)
    if _open_to_others(key):
        key.chmod(0o600)
    return key


def _open_to_others(key: Path) -> bool:
    status = key.stat()
    if status.st_uid != os.getuid():
        raise UserError(f"{key} belongs to another user; remove it, a new one is made")
    return bool(status.st_mode & 0o077)


def _make(folder: Path) -> None:
    """Make a folder with a key; where another process made one meanwhile, that one stays."""
    from adb_shell.auth.keygen import keygen

    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # keygen writes files that everybody may read, so it writes where nobody else may enter.
    aside = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        keygen(str(aside / "adbkey"))
        (aside / "adbkey").chmod(0o600)
        aside.replace(folder)
    except OSError:
        if not (folder / "adbkey").is_file():
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
