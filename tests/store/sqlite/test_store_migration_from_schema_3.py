"""A database of schema 3, written by the last release with the former names, during an outage, and then killed."""

import json
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.stored_rows import read_state
from streamcanary.model.alerts.incident import Action, NotificationState
from streamcanary.store.errors import StoreUnwritable
from streamcanary.store.sqlite.migrations import migrate, stored_version
from streamcanary.store.tables import alert_rows
from support.store.builders import open_store

SCHEMA_3 = Path(__file__).parents[2] / "fixtures" / "store" / "schema-3.db"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Provide a copy of the database."""
    return Path(shutil.copy(SCHEMA_3, tmp_path / "canary.db"))


def values(path: Path, table: str) -> dict[str, Any]:
    """Return the decoded values of one table, by key."""
    with closing(sqlite3.connect(path)) as connection:
        return {key: json.loads(value) for key, value in connection.execute(f"SELECT key, value FROM {table}")}  # noqa: S608 - fixed names


def migrated(path: Path) -> State:
    """Migrate the database, and return the state that the engine reads from it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection)
        state, errors = read_state(alert_rows.load_rows(connection))
    assert [] == list(errors)
    return state


def test_every_row_is_read_with_its_values(path: Path) -> None:
    """The engine reads each row, and each new field has the value of the former field."""
    before = {table: values(path, table) for table in ("detectors", "incidents", "groups", "notices", "sightings")}
    state = migrated(path)

    assert {key: (row.get("said", []), row.get("doubted", [])) for key, row in before["groups"].items()} == {
        key: (list(group.notified_members), list(group.possibly_notified)) for key, group in state.groups.items()
    }
    assert {key: (row.get("flushed"), row.get("due")) for key, row in before["groups"].items()} == {
        key: (group.last_flush, group.next_flush) for key, group in state.groups.items()
    }
    assert {
        key: (row["number"], row["next_try"], row.get("tries", 0), row.get("parked", 0))
        for key, row in before["notices"].items()
    } == {key: (n.sequence, n.next_attempt, n.attempts, n.park_count) for key, n in state.notifications.items()}
    assert {key: [one["resolves"] for one in row["members"]] for key, row in before["notices"].items()} == {
        key: [member.resolve_condition for member in n.members] for key, n in state.notifications.items()
    }
    assert {key: (row["resolves"], row.get("reason")) for key, row in before["incidents"].items()} == {
        key: (incident.resolve_condition, incident.resolve_reason) for key, incident in state.incidents.items()
    }
    assert {
        key: (row["at"], row.get("reached", 0.0), row.get("finding", "")) for key, row in before["sightings"].items()
    } == {key: (one.last_seen, one.last_reached, one.diagnosis) for key, one in state.reachability.items()}
    assert {
        key: (row["detector"]["type"], len(row["trail"].get("notes", []))) for key, row in before["detectors"].items()
    } == {
        key: (msgspec.to_builtins(one.detector)["type"], len(one.evidence_log.entries))
        for key, one in state.detectors.items()
    }


def test_the_values_of_every_kind_of_detector_are_kept(path: Path) -> None:
    """The samples of a ratio are renamed, those of the other detectors have kept their names."""
    before = values(path, "detectors")
    migrated(path)
    after = values(path, "detectors")
    kinds = Counter(row["detector"]["type"] for row in before.values())
    assert {"ratio", "consecutive", "burn_rate", "spike"} == set(kinds)
    assert kinds == Counter(row["detector"]["type"] for row in after.values())
    assert {key: row["detector"].get("seen") for key, row in before.items()} == {
        key: row["detector"].get("samples", row["detector"].get("seen")) for key, row in after.items()
    }


def test_no_former_name_remains(path: Path) -> None:
    """No field keeps a former name, whose value the decoder would drop without an error."""
    migrated(path)
    former = {"said", "late", "flushed", "due", "updated", "forgotten", "doubted", "number", "over", "next_try"}
    former |= {"last_try", "tries", "parked", "held", "resolves", "reason", "trail", "tally", "notes", "at", "lost"}
    former |= {"finding", "reached"}
    for table in ("detectors", "incidents", "groups", "notifications", "reachability"):
        for key, value in values(path, table).items():
            members = value.get("members", []) if table == "notifications" else []
            for one in [value, value.get("evidence_log", {}), *members]:
                assert set() == former & set(one), (table, key)


def test_notification_states_are_kept_by_the_migration(path: Path) -> None:
    """The migration keeps the state of accepted, refused and pending notifications."""
    state = migrated(path)
    by_receiver = {
        name: {n.state for n in state.notifications.values() if n.receiver == name and n.action is Action.TRIGGER}
        for name in ("accepts", "refuses", "down")
    }
    assert {
        "accepts": {NotificationState.ACCEPTED},
        "refuses": {NotificationState.PARKED},
        "down": {NotificationState.PENDING},
    } == by_receiver
    assert ["deploy"] == [silence.why for silence in state.silences.values()]


def test_a_value_that_is_not_a_json_object_stays_unchanged(path: Path) -> None:
    """A row that cannot be decoded does not stop the migration; the engine reports the row."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO groups VALUES ('broken', x'00ff'), ('list', '[1]'), ('number', 5)")
        connection.execute("INSERT INTO groups VALUES ('deep', ?)", ("[" * 200_000,))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection)
        rows = dict(
            connection.execute("SELECT key, value FROM groups WHERE key IN ('broken', 'list', 'number', 'deep')")
        )
        _, errors = read_state(alert_rows.load_rows(connection))
    assert {"broken": b"\x00\xff", "list": "[1]", "number": 5, "deep": "[" * 200_000} == rows
    assert [("groups", key) for key in ("broken", "deep", "list", "number")] == sorted(row[:2] for row in errors)


def test_a_migration_that_fails_leaves_schema_3(path: Path) -> None:
    """The migration is one transaction, so a failure renames no row."""
    before = values(path, "groups")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE reachability (key)")  # the second table cannot be renamed
        with pytest.raises(sqlite3.OperationalError):
            migrate(connection)
        assert 3 == stored_version(connection)
    assert before == values(path, "groups")
    assert 25 == len(values(path, "notices"))


def test_a_lone_surrogate_survives_the_migration(path: Path) -> None:
    """JSON can escape half of a surrogate pair, which UTF-8 cannot encode; such a row is migrated as it is."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO groups VALUES ('half', ?)", (b'{"key":"half\\ud800","said":["a"]}',))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection)
        [[value]] = connection.execute("SELECT value FROM groups WHERE key = 'half'")
    assert b'{"key":"half\\ud800","notified_members":["a"]}' == value


def test_a_database_that_cannot_be_migrated_is_named_with_its_schema(path: Path) -> None:
    """The message says that the migration failed, and what to do."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE reachability (key)")
    with pytest.raises(
        StoreUnwritable, match="cannot be migrated from schema version 3 to 7: there is already another table"
    ):
        open_store(path)
