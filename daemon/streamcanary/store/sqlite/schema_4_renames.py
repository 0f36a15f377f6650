"""Step 4 of the migrations: renames tables and JSON fields of alerting to standard terms.

The values of these tables are JSON objects. A decoder ignores a field that it does not know and takes the default
instead, so a field that kept its old name would lose its value without an error.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, Final

Value = dict[str, Any]
"""One row's value, decoded from JSON."""

_TABLES: Final = {"notices": "notifications", "sightings": "reachability"}  # codespell:ignore notices,sightings

_INCIDENT: Final = {"reason": "resolve_reason", "resolves": "resolve_condition"}
_GROUP: Final = {
    "said": "notified_members",
    "late": "unnotified_receivers",
    "flushed": "last_flush",
    "due": "next_flush",
    "updated": "has_sent_update",
    "forgotten": "is_reconciling",
    "doubted": "possibly_notified",  # codespell:ignore doubted
}
_NOTIFICATION: Final = {
    "number": "sequence",
    "total": "member_count",
    "over": "resolved_count",
    "next_try": "next_attempt",
    "last_try": "last_attempt",
    "tries": "attempts",
    "parked": "park_count",
    "held": "not_before",
}
_BINDING_STATE: Final = {
    "trail": "evidence_log",  # codespell:ignore trail
    "bad": "is_last_sample_bad",
    "tally": "counts",  # codespell:ignore tally
}
_EVIDENCE_LOG: Final = {"notes": "entries"}
_RATIO_STATE: Final = {"seen": "samples", "reached": "breached_since"}
_REACHABILITY: Final = {
    "at": "last_seen",
    "lost": "unreachable_runs",
    "finding": "diagnosis",
    "reached": "last_reached",
}


def rename_tables_and_fields(connection: sqlite3.Connection) -> None:
    """Rename two tables, and the fields of all values in the tables of alerting, within the caller's transaction.

    A value that is not a JSON object stays as it is: the engine reports and drops it when it loads the store.

    Raises:
        sqlite3.Error: if the database cannot be read or written.
    """
    for old, new in _TABLES.items():
        connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
    for table, rename in _RENAMES.items():
        for key, value in connection.execute(f"SELECT key, value FROM {table}").fetchall():  # noqa: S608 - fixed names
            if (decoded := _decode(value)) is not None:
                encoded = json.dumps(rename(decoded), separators=(",", ":")).encode()
                connection.execute(f"UPDATE {table} SET value = ? WHERE key = ?", (encoded, key))  # noqa: S608


def _decode(value: object) -> Value | None:
    """Return the JSON object that ``value`` holds; ``None`` for anything else that a damaged row may contain."""
    if not isinstance(value, (bytes, str)):
        return None
    try:
        decoded = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


def _renamed(value: Value, names: Mapping[str, str]) -> Value:
    """Return ``value`` with the keys in ``names`` renamed; the order of keys stays."""
    return {names.get(key, key): item for key, item in value.items()}


def _incident(value: Value) -> Value:
    return _renamed(value, _INCIDENT)


def _group(value: Value) -> Value:
    return _renamed(value, _GROUP)


def _notification(value: Value) -> Value:
    members = value.get("members")
    if isinstance(members, list):
        value = {**value, "members": [_incident(one) if isinstance(one, dict) else one for one in members]}
    return _renamed(value, _NOTIFICATION)


def _binding_state(value: Value) -> Value:
    if isinstance(log := value.get("trail"), dict):  # codespell:ignore trail
        value = {**value, "trail": _renamed(log, _EVIDENCE_LOG)}  # codespell:ignore trail
    detector = value.get("detector")
    if isinstance(detector, dict) and detector.get("type") == "ratio":
        value = {**value, "detector": _renamed(detector, _RATIO_STATE)}
    return _renamed(value, _BINDING_STATE)


def _reachability(value: Value) -> Value:
    return _renamed(value, _REACHABILITY)


_RENAMES: Final[dict[str, Callable[[Value], Value]]] = {
    "detectors": _binding_state,
    "incidents": _incident,
    "groups": _group,
    "notifications": _notification,
    "reachability": _reachability,
}
