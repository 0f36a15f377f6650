"""The history of alerts: one row for each time that an alert fired, with its timeline, for 30 days.

Alerting writes the rows, in the transaction of the change that each event describes. They are read only to be shown: a
damaged row is left out, and has no other effect.
"""

from collections.abc import Collection, Iterator
from typing import Final

import msgspec

from streamcanary.model.status.alert_history import IncidentPage, PastIncident, past_incident_id
from streamcanary.store.connection import Connection

RETENTION: Final = 30 * 86400.0
"""Seconds for which an alert is kept after it has resolved."""

MAX_ROWS: Final = 10_000
"""The maximum number of alerts that are kept; those that fired first are deleted."""

MAX_ROW_BYTES: Final = 65_536
"""The maximum size of a row. A larger one is damaged: alerting writes none."""

MAX_PAGE: Final = 200
"""The maximum number of alerts in a page."""

_ROWS_PER_QUERY = 200
_MAX_SCANNED = 2000  # rows that one page looks at for those of one canary
_MAX_PRUNED_PER_CALL = 1000
_MAX_TIME = 2.5e11  # seconds since the epoch, in the year 9892
_DECODER: Final = msgspec.json.Decoder(PastIncident)


def read_page(
    connection: Connection, before: str | None = None, *, limit: int = 50, canary: str | None = None
) -> IncidentPage:
    """Return up to ``limit`` alerts that fired before the one with the id ``before``, the newest first.

    With ``canary`` only those about that canary, or that name it as failing; of many others, a page may then have fewer
    than ``limit``, and a cursor.

    Raises:
        sqlite3.Error, psycopg.Error: if the table cannot be read.
    """
    found: list[PastIncident] = []
    last, scanned, limit = before, 0, max(1, min(limit, MAX_PAGE))
    for key, incident in _rows(connection, before):
        if len(found) == limit or scanned == _MAX_SCANNED:
            return IncidentPage(incidents=tuple(found), cursor=last)
        last, scanned = key, scanned + 1
        if incident is not None and (canary is None or canary == incident.subject or canary in incident.canaries):
            found.append(incident)
    return IncidentPage(incidents=tuple(found))


def read_incident(connection: Connection, id: str) -> PastIncident | None:  # noqa: A002 - the field's name
    """Return the alert of ``id``; ``None`` if there is none, or its row is damaged.

    Raises:
        sqlite3.Error, psycopg.Error: if the table cannot be read.
    """
    query = "SELECT key, value FROM alert_history WHERE key = ? AND length(value) <= ?"
    row = connection.execute(query, (id, MAX_ROW_BYTES)).fetchone()
    return None if row is None else _decode(*row)


def read_unfinished(connection: Connection, ids: Collection[str]) -> list[PastIncident]:
    """Return the alerts that have not resolved, and those of ``ids``.

    Raises:
        sqlite3.Error, psycopg.Error: if the table cannot be read.
    """
    return [one for _, one in _rows(connection, None) if one is not None and (one.resolved is None or one.id in ids)]


def prune(connection: Connection, now: float) -> None:
    """Delete alerts that resolved more than 30 days before ``now`` (seconds since the epoch), and those over the limit.

    At most 1,000 are deleted; the next call deletes the rest.

    Raises:
        sqlite3.Error, psycopg.Error: if they cannot be deleted.
    """
    oldest = now - RETENTION
    query = "SELECT key, value FROM alert_history WHERE key < ? ORDER BY key LIMIT ?"
    rows = connection.execute(query, (past_incident_id("", oldest), _MAX_PRUNED_PER_CALL)).fetchall()
    ended = [
        key
        for key, value in rows
        if (incident := _decode(key, value)) is None or (incident.resolved is not None and incident.resolved < oldest)
    ]
    connection.executemany("DELETE FROM alert_history WHERE key = ?", [(key,) for key in ended])
    count: int = connection.execute("SELECT count(*) FROM alert_history").fetchone()[0]
    if count > MAX_ROWS:
        connection.execute(
            "DELETE FROM alert_history WHERE key IN (SELECT key FROM alert_history ORDER BY key LIMIT ?)",
            (min(count - MAX_ROWS, _MAX_PRUNED_PER_CALL),),
        )


def _rows(connection: Connection, before: str | None) -> Iterator[tuple[str, PastIncident | None]]:
    """Yield the keys of the rows before ``before``, the newest first, with their alerts; ``None`` of a damaged one."""
    query = (
        "SELECT key, CASE WHEN length(value) <= ? THEN value END FROM alert_history"
        " WHERE key < ? ORDER BY key DESC LIMIT ?"
    )
    last = "~" if before is None else before
    while rows := connection.execute(query, (MAX_ROW_BYTES, last, _ROWS_PER_QUERY)).fetchall():
        for key, value in rows:
            yield str(key), _decode(key, value)
        last = rows[-1][0]


def _decode(key: object, value: object) -> PastIncident | None:
    if not isinstance(value, (bytes, str)):
        return None
    try:
        incident = _DECODER.decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    times = [incident.opened, incident.since, incident.resolved or 0.0, *(event.at for event in incident.timeline)]
    is_valid = incident.id == key and all(0 <= time < _MAX_TIME for time in times)
    return incident if is_valid else None
