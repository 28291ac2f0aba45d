import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from brpnas.devices.store import Store
from brpnas.devices.timing import Round
from brpnas.errors import UserError

DESCRIPTION = {"device": {"name": "x"}, "plan": {"runs": 2}}
ROUND = Round({"cpu_ms": (1.25, 1.5)}, {"load": 0.5, "governor": None})


def test_what_is_written_is_read_back_by_another_store(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        series = store.series(DESCRIPTION)
        store.add_model(series, "k", "a name", sha256="ab", size=3, maker="me")
        store.add_round(series, "k", 1, ROUND)
    with Store(tmp_path / "s.sqlite") as store:
        assert store.all_series() == [series]
        assert store.series(DESCRIPTION).id == series.id
        record = store.record(series, "k")
        assert record is not None
        assert (record.name, record.sha256, record.bytes, record.maker) == ("a name", "ab", 3, "me")
        assert record.rounds == {1: ROUND}
        assert store.done(series) == {"k": {1}}
        assert store.record(series, "other") is None


def test_series_of_different_descriptions_do_not_mix(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        one = store.series(DESCRIPTION)
        two = store.series({**DESCRIPTION, "precision": "int8"})
        store.add_round(one, "k", 0, ROUND)
        assert one.id != two.id
        assert store.done(two) == {}


def test_a_round_is_kept_once(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        series = store.series(DESCRIPTION)
        store.add_model(series, "k", "a", sha256="ab", size=3, maker="me")
        store.add_round(series, "k", 0, ROUND)
        store.add_round(series, "k", 0, Round({"cpu_ms": (9.0,)}))
        record = store.record(series, "k")
        assert record is not None
        assert record.rounds == {0: ROUND}


def test_a_failure_is_forgotten_when_the_model_is_made_again(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        series = store.series(DESCRIPTION)
        store.add_failure(series, "k", "a", "no such layer")
        record = store.record(series, "k")
        assert record is not None
        assert (record.error, record.sha256) == ("no such layer", None)
        store.add_model(series, "k", "a", sha256="ab", size=3, maker="me")
        record = store.record(series, "k")
        assert record is not None
        assert (record.error, record.sha256) == (None, "ab")
        store.add_failure(series, "k", "a", "hung")
        record = store.record(series, "k")
        assert record is not None
        assert (record.error, record.sha256) == ("hung", "ab")


def test_rounds_of_another_model_of_the_same_key_are_forgotten(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        series = store.series(DESCRIPTION)
        for sha256, left in (("ab", {"k": {0}}), ("ab", {"k": {0}}), ("cd", {})):
            store.add_model(series, "k", "a", sha256=sha256, size=3, maker="me")
            if sha256 == "ab":
                store.add_round(series, "k", 0, ROUND)
            assert store.done(series) == left


@pytest.mark.parametrize("content", [b"not a database, but long enough to be looked at" * 9, None])
def test_other_files_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "s.sqlite"
    if content is None:
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE t (x)")
        other.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    reason = r"s\.sqlite: .*(not a database; .*another --out|another database)"
    with pytest.raises(UserError, match=reason):
        Store(path)
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unable to open"):
        Store(tmp_path / "none" / "s.sqlite")


def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        series = store.series(DESCRIPTION)
        store.add_round(series, "k", 0, ROUND)
        ((pages,),) = store._db.execute("PRAGMA page_count")
        store._db.execute(f"PRAGMA max_page_count={pages}")  # as a full disk: SQLITE_FULL
        long = Round({"cpu_ms": tuple(float(x) for x in range(5000))})
        with pytest.raises(UserError, match="full; what was measured before is kept"):
            store.add_round(series, "k", 1, long)
        assert store.done(series) == {"k": {0}}


_WRITER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from brpnas.devices.store import Store
    from brpnas.devices.timing import Round

    with Store(Path(sys.argv[1])) as store:
        series = store.series({"device": {"name": "x"}})
        print("ready", flush=True)
        for number in range(int(sys.argv[3])):
            store.add_round(series, sys.argv[2], number, Round({"cpu_ms": (float(number),)}))
            print(number, flush=True)
""")


def _writer(path: Path, key: str, rounds: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WRITER, str(path), key, str(rounds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_write_to_one_store(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    both = [_writer(path, key, 100) for key in ("a", "b")]
    assert [writer.communicate(timeout=120)[0].splitlines()[-1] for writer in both] == ["99"] * 2
    with Store(path) as store:
        (series,) = store.all_series()
        assert store.done(series) == {"a": set(range(100)), "b": set(range(100))}


_OPENER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from brpnas.devices.store import Store
    from brpnas.devices.timing import Round
    from brpnas.errors import UserError

    folder, me, other = map(Path, sys.argv[1:])
    for number in range(50):
        (folder / f"{me}{number}").touch()
        while not (folder / f"{other}{number}").exists():
            pass
        try:
            with Store(folder / f"{number}.sqlite") as store:
                series = store.series({"device": {"name": "x"}})
                store.add_round(series, str(me), 0, Round({"cpu_ms": (1.0,)}))
        except UserError as error:
            print(error, file=sys.stderr)
""")


def test_two_processes_make_one_store_at_the_same_time(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _OPENER, str(tmp_path)]
    both = [
        subprocess.Popen([*command, *names], stderr=subprocess.PIPE, text=True)
        for names in ("ab", "ba")
    ]
    try:
        assert [opener.communicate(timeout=120)[1] for opener in both] == ["", ""]
    finally:
        for opener in both:
            opener.kill()
    for number in range(50):
        with Store(tmp_path / f"{number}.sqlite") as store:
            (series,) = store.all_series()
            assert store.done(series) == {"a": {0}, "b": {0}}


def test_what_was_reported_as_written_survives_a_kill(tmp_path: Path) -> None:
    writer = _writer(tmp_path / "s.sqlite", "a", 10**6)
    assert writer.stdout is not None
    for _ in range(50):
        line = writer.stdout.readline()
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    with Store(tmp_path / "s.sqlite") as store:
        (series,) = store.all_series()
        done = store.done(series)["a"]
        assert done == set(range(len(done)))
        assert len(done) > int(line)
        started = time.monotonic()
        store.add_round(series, "b", 0, ROUND)  # no lock is left behind
        assert time.monotonic() - started < 10
    ((text,),) = sqlite3.connect(tmp_path / "s.sqlite").execute(
        "SELECT samples FROM rounds WHERE round = 7 AND key = 'a'"
    )
    assert json.loads(text) == {"cpu_ms": [7.0]}
