"""Reading a file of the store that is damaged, locked, or no store."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from streamcanary.model.outcome import Outcome
from streamcanary.store import recorded_runs
from streamcanary.store.config import StoreConfig
from streamcanary.store.errors import RunsUnreadable
from streamcanary.store.recorded_runs import read_alert_history, read_runs
from streamcanary.store.tables.history import UnreadableRun
from support.store.builders import make_outcome, open_store


async def a_store(path: Path, count: int) -> Path:
    """Record ``count`` runs, and close the store."""
    store = open_store(path)
    await store.commit([], [make_outcome(number) for number in range(count)])
    await store.close()
    return path


def put(path: Path, *values: object) -> None:
    """Write rows that are not valid runs."""
    connection = sqlite3.connect(path)
    for number, value in enumerate(values):
        connection.execute(
            "INSERT INTO runs (run_id, canary, kind, started, failed, outcome) VALUES (?, 'chat', 'ok', 0, 0, ?)",
            (f"bad-{number}\x1b[31m", value),
        )
    connection.commit()
    connection.close()


async def test_a_row_that_is_not_a_run_is_reported_and_skipped(tmp_path: Path) -> None:
    """The reader yields an UnreadableRun without terminal escapes for every invalid row."""
    path = await a_store(tmp_path / "a.db", 1)
    far = msgspec.json.encode(make_outcome(7, started=1e300))
    long = msgspec.json.encode(make_outcome(8, duration=1e18))
    put(path, b"{}", b"\xff\xfe", "text", 7, b"[" * 100_000, b" " * (recorded_runs.MAX_RUN_BYTES + 1), far, long)
    good, *bad = read_runs(StoreConfig(path=path))
    assert isinstance(good, Outcome)
    assert 8 == len(bad)
    assert all(isinstance(row, UnreadableRun) and "\x1b" not in row.run_id and row.reason for row in bad)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no database"),
        (b"", "is empty: no daemon has used it"),
        (b"not a database, but long enough to look like one" * 100, "is not a valid database"),
    ],
    ids=["missing", "empty", "text"],
)
def test_a_file_that_is_not_a_store_is_rejected(content, message, tmp_path: Path) -> None:
    """The message names the file, and the file stays unchanged."""
    path = tmp_path / "a.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunsUnreadable, match=message) as raised:
        list(read_runs(StoreConfig(path=path)))
    assert str(path) in str(raised.value)
    assert not content or content == path.read_bytes()


def test_a_directory_is_rejected(tmp_path: Path) -> None:
    """A path that is not a regular file is rejected."""
    with pytest.raises(RunsUnreadable, match="is not a regular file"):
        list(read_runs(StoreConfig(path=tmp_path)))


async def test_a_store_of_a_later_version_is_rejected(tmp_path: Path) -> None:
    """The reader does not read a schema that it does not support."""
    path = await a_store(tmp_path / "a.db", 1)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(RunsUnreadable, match="has schema version 99"):
        list(read_runs(StoreConfig(path=path)))


async def test_a_locked_store_is_reported(tmp_path: Path, monkeypatch) -> None:
    """If another program holds an exclusive lock, the reader raises an error after a short wait."""
    monkeypatch.setattr("streamcanary.store.sqlite.database_file._BUSY_TIMEOUT", 0.05)
    path = await a_store(tmp_path / "a.db", 1)
    hold = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA locking_mode = EXCLUSIVE')\n"
    hold += "c.execute('BEGIN EXCLUSIVE'); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(  # noqa: ASYNC220 - the test has nothing else to do
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert "held\n" == holder.stdout.readline()
        with pytest.raises(RunsUnreadable, match="is locked by another program"):
            list(read_runs(StoreConfig(path=path)))


def test_alerts_of_a_missing_store_are_an_error(tmp_path: Path) -> None:
    """The error says what to give instead."""
    with pytest.raises(RunsUnreadable, match="there is no database"):
        read_alert_history(StoreConfig(path=tmp_path / "nowhere.db"), 0.0)
