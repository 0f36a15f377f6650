"""Recorded runs, read beside a daemon that writes them."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from streamcanary.model.outcome import Outcome
from streamcanary.store import recorded_runs
from streamcanary.store.recorded_runs import RunsUnreadable, UnreadableRun, read_runs
from support.store.builders import make_outcome, open_store


async def a_store(path: Path, count: int) -> Path:
    """Record so many runs, and close the store."""
    store = open_store(path)
    await store.commit([], [make_outcome(number) for number in range(count)])
    await store.close()
    return path


def put(path: Path, *values: object) -> None:
    """Write rows that no daemon would write."""
    connection = sqlite3.connect(path)
    for number, value in enumerate(values):
        connection.execute(
            "INSERT INTO runs (run_id, canary, kind, started, failed, outcome) VALUES (?, 'chat', 'ok', 0, 0, ?)",
            (f"bad-{number}\x1b[31m", value),
        )
    connection.commit()
    connection.close()


async def test_runs_come_in_the_order_in_which_they_ended(tmp_path: Path, monkeypatch) -> None:
    """All of them, a few at a time."""
    monkeypatch.setattr(recorded_runs, "_ROWS_PER_TRANSACTION", 3)
    path = await a_store(tmp_path / "a.db", 10)
    assert [make_outcome(number) for number in range(10)] == list(read_runs(path))


async def test_a_daemon_may_have_the_store_open(tmp_path: Path, monkeypatch) -> None:
    """It goes on to write meanwhile; what it writes after the beginning is not waited for."""
    monkeypatch.setattr(recorded_runs, "_ROWS_PER_TRANSACTION", 2)
    store = open_store(tmp_path / "a.db")
    await store.commit([], [make_outcome(number) for number in range(5)])
    runs = read_runs(tmp_path / "a.db")
    first = next(runs)
    await store.commit([], [make_outcome(5)])
    assert [f"run-{number}" for number in range(5)] == [run.run_id for run in (first, *runs)]
    await store.close()


async def test_a_row_that_is_no_run_is_told_and_passed_over(tmp_path: Path) -> None:
    """Whatever stands in it, and without what it says to terminals."""
    path = await a_store(tmp_path / "a.db", 1)
    far = msgspec.json.encode(make_outcome(7, started=1e300))
    long = msgspec.json.encode(make_outcome(8, duration=1e18))
    put(path, b"{}", b"\xff\xfe", "text", 7, b"[" * 100_000, b" " * (recorded_runs.MAX_RUN_BYTES + 1), far, long)
    good, *bad = read_runs(path)
    assert isinstance(good, Outcome)
    assert 8 == len(bad)
    assert all(isinstance(row, UnreadableRun) and "\x1b" not in row.run_id and row.reason for row in bad)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no database"),
        (b"", "is a database of another program"),
        (b"not a database, but long enough to look like one" * 100, "is not a valid database"),
    ],
    ids=["missing", "empty", "text"],
)
def test_what_is_no_store_is_a_sentence(content, message, tmp_path: Path) -> None:
    """It names the file."""
    path = tmp_path / "a.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunsUnreadable, match=message) as refused:
        list(read_runs(path))
    assert str(path) in str(refused.value)
    assert not content or content == path.read_bytes()


def test_a_directory_is_no_store(tmp_path: Path) -> None:
    """And neither is anything else that is no file."""
    with pytest.raises(RunsUnreadable, match="is not a regular file"):
        list(read_runs(tmp_path))


async def test_a_store_of_a_later_version_is_not_guessed_at(tmp_path: Path) -> None:
    """Its runs may mean something else."""
    path = await a_store(tmp_path / "a.db", 1)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(RunsUnreadable, match="has schema version 99"):
        list(read_runs(path))


async def test_a_locked_store_is_told(tmp_path: Path, monkeypatch) -> None:
    """Another program holds it for itself: a short wait, then a sentence."""
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
            list(read_runs(path))
