"""The runs that have ended. Failures outlive successes: the first failure of an outage is the one people look for."""

import json
import logging
import sqlite3
from typing import Final

import msgspec

from streamcanary.model.outcome import Outcome, OutcomeKind

_log = logging.getLogger(__name__)

MAX_PRUNED_PER_CALL: Final = 5_000
"""The most runs that one call of :func:`prune` removes for each reason: it holds up the writes behind it."""

_FAILED_KINDS = frozenset({OutcomeKind.FAILED, OutcomeKind.FAILED_OVER, OutcomeKind.INTERNAL_ERROR})
_FAILURE_RETENTION_FACTOR = 4  # times as long as the others
_MAX_RUNS = 200_000  # of either sort

_DECODER = msgspec.json.Decoder(Outcome)


def record_run(connection: sqlite3.Connection, outcome: Outcome) -> None:
    """Add a run; one that is there already stays as it is.

    Raises:
        sqlite3.Error: if it cannot be added.
    """
    connection.execute(
        "INSERT INTO runs (run_id, canary, kind, started, failed, outcome) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (run_id) DO NOTHING",
        (
            outcome.run_id,
            outcome.canary,
            outcome.kind.value,
            outcome.started,
            outcome.kind in _FAILED_KINDS,
            _encode_run(outcome),
        ),
    )


def recent_runs(connection: sqlite3.Connection, canary: str | None = None, *, limit: int = 100) -> list[Outcome]:
    """Return the last runs, of one canary or of all, the one that ended last first.

    A run that this version cannot read (a later one wrote it) is left out.

    Raises:
        sqlite3.Error: if they cannot be read.
    """
    where, values = ("", (limit,)) if canary is None else ("WHERE canary = ?", (canary, limit))
    rows = connection.execute(f"SELECT run_id, outcome FROM runs {where} ORDER BY id DESC LIMIT ?", values)  # noqa: S608 - only the words above
    outcomes = []
    for run_id, value in rows:
        try:
            outcomes.append(_DECODER.decode(value))
        except msgspec.DecodeError as error:
            _log.debug("run %s cannot be read: %s", run_id, error)
    return outcomes


def prune_runs(connection: sqlite3.Connection, now: float, retention: float, *, limit: int = _MAX_RUNS) -> int:
    """Forget runs that started more than ``keep`` seconds before ``now``, failures after four times as long.

    Of either sort at most the last ``most`` stay: a clock that jumps may keep runs from ageing. Returns how many were
    removed, at most :data:`PRUNED_AT_ONCE` for each sort and reason; the rest is for the next call.

    Raises:
        sqlite3.Error: if they cannot be removed.
    """
    removed = 0
    for failed, lifetime in ((False, retention), (True, _FAILURE_RETENTION_FACTOR * retention)):
        removed += connection.execute(
            "DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE failed = ? AND started < ? LIMIT ?)",
            (failed, now - lifetime, MAX_PRUNED_PER_CALL),
        ).rowcount
        count = connection.execute("SELECT count(*) FROM runs WHERE failed = ?", (failed,)).fetchone()[0]
        if count > limit:
            removed += connection.execute(
                "DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE failed = ? ORDER BY id LIMIT ?)",
                (failed, min(count - limit, MAX_PRUNED_PER_CALL)),
            ).rowcount
    return removed


def _encode_run(outcome: Outcome) -> bytes:
    try:
        return msgspec.json.encode(outcome)
    except UnicodeEncodeError:  # half a surrogate pair in what a provider sent must not lose the run
        return json.dumps(msgspec.to_builtins(outcome), ensure_ascii=False).encode("utf-8", "replace")
