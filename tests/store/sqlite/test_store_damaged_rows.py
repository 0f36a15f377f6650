"""Damaged rows: one row that cannot be read costs that row, and the others of its table stay."""

import logging
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streamcanary.alerting.engine.stored_rows import read_state
from streamcanary.alerting.service.alert_log import log_unreadable_rows
from streamcanary.model.outcome import Outcome
from streamcanary.store.config import StoreConfig
from streamcanary.store.recorded_runs import read_runs
from streamcanary.store.tables.damaged_rows import MAX_LOGGED
from support.store.builders import corrupt_path, open_store
from support.store.populated import Content, populate, read_content, start_alerting

VALUE_DAMAGES: dict[str, Any] = {
    "null": None,
    "a number": 7,
    "a float": 1e308,
    "empty": b"",
    "not UTF-8": b"\xff\xfe",
    "text that is not JSON": "text",
    "another JSON type": b"[1]",
    "missing fields": b'{"detector":{}}',
    "nested too deeply": b"[" * 100_000,
    "a huge number": b"1" + b"0" * 5000,
}
ALERT_TABLES = ("detectors", "incidents", "groups", "notifications", "silences", "reachability", "baselines")


@pytest.fixture
async def content(path: Path) -> Content:
    """Populate the store at ``path``, and return its content."""
    return await populate(path)


def execute(path: Path, sql: str, *values: Any) -> None:
    """Change the database as damage would, without the constraints of its tables."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        schema = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '')")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(sql, values)
        connection.execute("PRAGMA writable_schema = ON")
        for name, text in schema:
            connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (text, name))


def first_key(path: Path, table: str) -> str:
    """Return the first key of ``table``."""
    with closing(sqlite3.connect(path)) as connection:
        key: str = connection.execute(f"SELECT min(key) FROM {table}").fetchone()[0]  # noqa: S608 - fixed names
    return key


@pytest.mark.parametrize("table", ALERT_TABLES)
@pytest.mark.parametrize("damage", VALUE_DAMAGES.values(), ids=VALUE_DAMAGES)
async def test_a_damaged_value_of_alerting_costs_its_row(
    table: Any, damage: Any, path: Path, content: Content, caplog: pytest.LogCaptureFixture
) -> None:
    """The store opens in place, the row is logged with table and key, and every other row is read."""
    key = first_key(path, table)
    execute(path, f"UPDATE {table} SET value = ? WHERE key = ?", damage, key)  # noqa: S608 - fixed names
    store = open_store(path)
    found = await read_content(store)
    assert (None, [(table, key)]) == (corrupt_path(store), [row[:2] for row in found.unreadable])
    for name in ALERT_TABLES:
        expected = {each: value for each, value in content.state.table(name).items() if (name, each) != (table, key)}
        assert expected == found.state.table(name)
    log_unreadable_rows(found.unreadable)
    [record] = [record for record in caplog.records if record.message == "stored row unreadable"]
    assert (table, key, True) == (record.__dict__["table"], record.__dict__["key"], bool(record.__dict__["error"]))
    start_alerting(found)
    await store.close()


@pytest.mark.parametrize("key", [b"\xff\xfe", "another", 5, 1.5])
async def test_a_damaged_key_of_alerting_costs_its_row(key: Any, path: Path, content: Content) -> None:
    """A value under another key than its own is not used, so that no incident exists twice."""
    first = first_key(path, "incidents")
    execute(path, "UPDATE incidents SET key = ? WHERE key = ?", key, first)
    store = open_store(path)
    found = await read_content(store)
    assert content.state.incidents.keys() - {first} == found.state.incidents.keys()
    start_alerting(found)
    await store.close()


@pytest.mark.parametrize(
    ("table", "old", "new"),
    [
        ("incidents", b'"opened":18', b'"opened":-18'),
        ("incidents", b'"opened":18', b'"opened":1e300,"x":18'),
        ("notifications", b'"sequence":', b'"sequence":123456789012345678901'),
        ("detectors", b'"type":"spike","sum":', b'"type":"spike","sum":123456789012345678901'),
    ],
)
def test_impossible_numbers_make_a_row_unreadable(table: Any, old: bytes, new: bytes, content: Content) -> None:
    """A time that cannot be shown, or a count that cannot be stored again, would break alerting later."""
    rows = {row.key: row.value or b"" for row in content.state.rows() if row.table == table}
    changed = {key: value.replace(old, new, 1) for key, value in rows.items()}
    damaged = {key for key, value in changed.items() if value != rows[key]}
    assert damaged
    assert damaged == {row.key for row in read_state({table: changed})[1]}


async def test_many_damaged_rows_are_counted(path: Path, content: Content, caplog: pytest.LogCaptureFixture) -> None:
    """Of each table, a bounded number of rows is logged one by one."""
    execute(path, "UPDATE detectors SET value = x'ff'")
    store = open_store(path)
    found = await read_content(store)
    await store.close()
    with caplog.at_level(logging.WARNING):
        log_unreadable_rows(found.unreadable)
    assert ["stored row unreadable"] * MAX_LOGGED + ["stored rows unreadable"] == [r.message for r in caplog.records]
    assert len(content.state.detectors) == caplog.records[-1].__dict__["count"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("day", b"\xff\xfe"),
        ("day", "2026-02-31"),
        ("day", "tomorrow"),
        ("input_tokens", None),
        ("input_tokens", -5),
        ("output_tokens", 2**62),
        ("input_usd", "free"),
        ("input_usd", float("inf")),
        ("output_usd", -0.5),
        ("requests", b"\x00"),
    ],
)
async def test_a_damaged_day_of_spend_costs_that_day(
    column: str, value: Any, path: Path, content: Content, caplog: pytest.LogCaptureFixture
) -> None:
    """The other days are read, and can be saved again."""
    execute(path, f"UPDATE spend SET {column} = ? WHERE day = '2026-02-03'", value)  # noqa: S608 - fixed names
    store = open_store(path)
    expected = {day: spend for day, spend in content.spend.items() if day != "2026-02-03"}
    assert expected == await store.load_spend()
    assert ["spend"] == [r.__dict__["table"] for r in caplog.records if r.message == "stored row unreadable"]
    await store.save_spend(content.spend)
    assert content.spend == await store.load_spend()
    await store.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("outcome", value) for value in VALUE_DAMAGES.values()),
        ("run_id", b"\xff\xfe"),
        ("run_id", None),
        ("canary", b"\xff"),
        ("kind", 7),
        ("started", "soon"),
        ("failed", None),
    ],
    ids=str,
)
async def test_a_damaged_run_costs_that_run_at_most(column: str, value: Any, path: Path, content: Content) -> None:
    """History, backtests and pruning work on the other runs."""
    execute(path, f"UPDATE runs SET {column} = ? WHERE id = 7", value)  # noqa: S608 - fixed names
    store = open_store(path)
    found = await read_content(store)
    assert found.runs == (
        content.runs if column != "outcome" else [run for run in content.runs if run != content.runs[-7]]
    )
    await store.commit([], [content.runs[0]])
    await store.close()
    copy = Path(shutil.copy(path, path.with_name("copy.db")))
    assert len(found.runs) == sum(isinstance(run, Outcome) for run in read_runs(StoreConfig(path=copy)))


@pytest.mark.parametrize("field", ["started", "scheduled", "duration"])
async def test_a_run_at_an_impossible_time_is_left_out(field: str, path: Path, content: Content) -> None:
    """A time that cannot be shown makes the run unreadable."""
    execute(path, "UPDATE runs SET outcome = json_set(outcome, ?, 1e300) WHERE id = 7", f"$.{field}")
    store = open_store(path)
    assert len(content.runs) - 1 == len((await read_content(store)).runs)
    await store.close()
