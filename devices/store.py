"""Where a sweep keeps every round as soon as it is measured: one SQLite file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from brpnas.devices.timing import Round
from brpnas.errors import UserError, one_line

__all__ = ["ModelRecord", "Series", "Store"]

_APPLICATION = 0x42525054  # "BRPT": tells a store from other SQLite files
_VERSION = 1
_PATIENCE_S = 60.0
_USELESS = "this file cannot be used: choose another --out, or delete it and measure again"
_TABLES = """
CREATE TABLE series (
    id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, description TEXT NOT NULL,
    created TEXT NOT NULL);
CREATE TABLE models (
    series INTEGER NOT NULL REFERENCES series, key TEXT NOT NULL, name TEXT NOT NULL,
    sha256 TEXT, bytes INTEGER, maker TEXT, error TEXT, PRIMARY KEY (series, key)) WITHOUT ROWID;
CREATE TABLE rounds (
    series INTEGER NOT NULL REFERENCES series, key TEXT NOT NULL, round INTEGER NOT NULL,
    taken TEXT NOT NULL, samples TEXT NOT NULL, conditions TEXT NOT NULL,
    PRIMARY KEY (series, key, round)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class ModelRecord:
    """What a store knows of one model.

    Attributes:
        name: an architecture's text or a file's name.
        sha256: of the flatbuffer; None if it could not be made.
        bytes: size of the flatbuffer.
        maker: the program that wrote it.
        error: why it could not be measured; None if it was not tried or did not fail.
        rounds: by number; all of the same model on the same device.
    """

    name: str
    sha256: str | None
    bytes: int | None
    maker: str | None
    error: str | None
    rounds: Mapping[int, Round]


@dataclass(frozen=True)
class Series:
    """Measurements that may be compared: one device in one state, one timing plan.

    Attributes:
        id: in its store.
        description: device, plan and what else the figures depend on.
    """

    id: int
    description: Mapping[str, Any]


class Store:
    """Rounds of measurements in an SQLite file; a context manager.

    SQLite because every round is one transaction: what was measured survives a kill at any moment,
    several sweeps may write to one file at the same time (write-ahead log), and a part that was
    written twice is refused by its key. The file has to lie on a local disk.

    Args:
        path: the file; made if it is not there.

    Raises:
        UserError: not a store, of a later version, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._said_plainly():
            # Autocommit: transactions are written out below. Each thread opens its own Store.
            self._db = sqlite3.connect(path, timeout=_PATIENCE_S, isolation_level=None)
        try:
            with self._said_plainly():
                self._prepare()
        except UserError:
            self._db.close()
            raise

    def _prepare(self) -> None:
        # One statement, so that it sees another process's store whole or not at all.
        ((kind, version, tables),) = self._db.execute(
            "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
            "FROM pragma_application_id, pragma_user_version"
        )
        if (kind, version) not in ((_APPLICATION, _VERSION), (0, 0)) or (kind == 0 and tables):
            known = f"version {version} of a store" if kind == _APPLICATION else "another database"
            raise UserError(f"{self.path}: is {known}, not a store of this program's measurements")
        self._write_ahead()
        # Survives the end of the program at any moment; a power cut may cost the last rounds.
        self._db.execute("PRAGMA synchronous=NORMAL")
        with self._transaction():
            ((tables,),) = self._db.execute("SELECT count(*) FROM sqlite_master")
            if not tables:
                for statement in _TABLES.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA application_id={_APPLICATION}")
                self._db.execute(f"PRAGMA user_version={_VERSION}")

    def _write_ahead(self) -> None:
        """Write ahead; this statement does not wait by itself while another process opens it."""
        given_up = time.monotonic() + _PATIENCE_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > given_up:
                    raise
                time.sleep(0.01)
            else:
                return

    def all_series(self) -> list[Series]:
        """Return what the store holds measurements of, oldest first."""
        with self._said_plainly():
            rows = self._db.execute("SELECT id, description FROM series ORDER BY id").fetchall()
        return [Series(number, self._description(text)) for number, text in rows]

    def series(self, description: Mapping[str, Any]) -> Series:
        """Return the series of exactly this description; made if it is new."""
        text = json.dumps(description, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        with self._transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO series (digest, description, created) VALUES (?, ?, ?)",
                (digest, text, _now()),
            )
            ((number,),) = self._db.execute("SELECT id FROM series WHERE digest = ?", (digest,))
        return Series(number, description)

    def add_model(
        self, series: Series, key: str, name: str, *, sha256: str, size: int, maker: str
    ) -> None:
        """Note a model that was made and is about to be measured; an earlier error is forgotten.

        Rounds of a model of the same key but other content, as another version of a converter
        makes it, are forgotten too.
        """
        self._write(
            "DELETE FROM rounds WHERE series = ? AND key = ? AND EXISTS (SELECT 1 FROM models "
            "WHERE series = ? AND key = ? AND sha256 <> ?)",
            (series.id, key, series.id, key, sha256),
        )
        self._write(
            "INSERT INTO models VALUES (?, ?, ?, ?, ?, ?, NULL) ON CONFLICT DO UPDATE SET sha256 = "
            "excluded.sha256, bytes = excluded.bytes, maker = excluded.maker, error = NULL",
            (series.id, key, name, sha256, size, maker),
        )

    def add_failure(self, series: Series, key: str, name: str, reason: str) -> None:
        """Note that a model could not be made or measured; its rounds stay, and do not count."""
        self._write(
            "INSERT INTO models VALUES (?, ?, ?, NULL, NULL, NULL, ?) "
            "ON CONFLICT DO UPDATE SET error = excluded.error",
            (series.id, key, name, reason),
        )

    def add_round(self, series: Series, key: str, number: int, result: Round) -> None:
        """Keep one round; one of the same number that is there already stays."""
        self._write(
            "INSERT OR IGNORE INTO rounds VALUES (?, ?, ?, ?, ?, ?)",
            (
                series.id,
                key,
                number,
                _now(),
                json.dumps({name: list(values) for name, values in result.samples.items()}),
                json.dumps(dict(result.conditions)),
            ),
        )

    def done(self, series: Series) -> dict[str, set[int]]:
        """Return the rounds that are there, by the key of their model."""
        with self._said_plainly():
            rows = self._db.execute(
                "SELECT key, round FROM rounds WHERE series = ?", (series.id,)
            ).fetchall()
        found: dict[str, set[int]] = {}
        for key, number in rows:
            found.setdefault(key, set()).add(number)
        return found

    def failed(self, series: Series) -> set[str]:
        """Return the keys of the models that failed."""
        with self._said_plainly():
            rows = self._db.execute(
                "SELECT key FROM models WHERE series = ? AND error IS NOT NULL", (series.id,)
            ).fetchall()
        return {key for (key,) in rows}

    def record(self, series: Series, key: str) -> ModelRecord | None:
        """Return what is known of one model, or None."""
        with self._said_plainly():
            facts = self._db.execute(
                "SELECT name, sha256, bytes, maker, error FROM models WHERE series = ? AND key = ?",
                (series.id, key),
            ).fetchone()
        if facts is None:
            return None
        name, sha256, size, maker, error = facts
        return ModelRecord(name, sha256, size, maker, error, self._rounds(series, key))

    def first_rounds(self, series: Series, count: int) -> list[Round]:
        """Return the rounds that were measured first, of whatever models, at most so many."""
        with self._said_plainly():
            rows = self._db.execute(
                "SELECT samples, conditions FROM rounds WHERE series = ? "
                "ORDER BY taken, key, round LIMIT ?",
                (series.id, count),
            ).fetchall()
        return [self._round(*row) for row in rows]

    def _rounds(self, series: Series, key: str) -> dict[int, Round]:
        with self._said_plainly():
            rows = self._db.execute(
                "SELECT round, samples, conditions FROM rounds WHERE series = ? AND key = ? "
                "ORDER BY round",
                (series.id, key),
            ).fetchall()
        return {number: self._round(*row) for number, *row in rows}

    def _round(self, samples: str, conditions: str) -> Round:
        return Round(self._samples(samples), self._object(conditions))

    def _samples(self, text: str) -> dict[str, tuple[float, ...]]:
        try:
            found = {name: tuple(map(float, one)) for name, one in self._object(text).items()}
        except (TypeError, ValueError, OverflowError):
            raise self._damaged(text) from None
        if not all(found.values()):
            raise self._damaged(text)
        return found

    def _description(self, text: str) -> dict[str, Any]:
        found = self._object(text)
        device = found.get("device")
        if not isinstance(device, dict) or not {"serial", "name"} & device.keys():
            raise self._damaged(text)
        return found

    def _object(self, text: str) -> dict[str, Any]:
        try:
            found = json.loads(text)
        except (TypeError, ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise self._damaged(text)
        return found

    def _damaged(self, content: object) -> UserError:
        return UserError(
            f"{self.path}: damaged: it holds {one_line(repr(content), 100)}; {_USELESS}"
        )

    def discard_if_empty(self) -> None:
        """Close and delete the file if it holds no round; one that others have open stays."""
        with contextlib.suppress(sqlite3.Error, OSError):
            ((rounds,),) = self._db.execute("SELECT EXISTS (SELECT 1 FROM rounds)")
            if not rounds:
                self._db.execute("PRAGMA busy_timeout=0")
                self._db.execute("PRAGMA journal_mode=DELETE")  # fails while others have it open
                self._db.close()
                self.path.unlink()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        with self._transaction():
            self._db.execute(statement, values)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._said_plainly():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk has rolled back already
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _said_plainly(self) -> Iterator[None]:
        """Turn the database's errors into the user's."""
        try:
            yield
        except sqlite3.OperationalError as error:  # a full disk, a lock
            raise UserError(
                f"{self.path}: {error}; what was measured before is kept, and --resume continues"
            ) from None
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter of names in the file
            raise UserError(f"{self.path}: {error}; {_USELESS}") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
