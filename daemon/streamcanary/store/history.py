"""The history of ended runs. Failures are kept longer: people need the first failure of an outage most."""

import json
import logging
import sqlite3
from typing import Final

import msgspec

from streamcanary.model.outcome import Outcome, OutcomeKind

_log = logging.getLogger(__name__)

MAX_PRUNED_PER_CALL: Final = 5_000
"""Runs that one call of :func:`prune_runs` removes for each reason, at most: pruning delays the queued writes."""

_FAILED_KINDS = frozenset({OutcomeKind.FAILED, OutcomeKind.FAILED_OVER, OutcomeKind.INTERNAL_ERROR})
_FAILURE_RETENTION_FACTOR = 4  # failures are kept this many times as long
_MAX_RUNS = 200_000  # failures, and as many others

_DECODER = msgspec.json.Decoder(Outcome)


def record_run(connection: sqlite3.Connection, outcome: Outcome) -> None:
    """Add a run. A run that is recorded already stays unchanged.

    Raises:
        sqlite3.Error: if the run cannot be added.
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
    """Return the last runs of one canary or of all, latest end first.

    Runs that this version cannot decode (written by a later version) are omitted.

    Raises:
        sqlite3.Error: if the runs cannot be read.
    """
    where, values = ("", (limit,)) if canary is None else ("WHERE canary = ?", (canary, limit))
    rows = connection.execute(f"SELECT run_id, outcome FROM runs {where} ORDER BY id DESC LIMIT ?", values)  # noqa: S608 - fixed text
    outcomes = []
    for run_id, value in rows:
        try:
            outcomes.append(_DECODER.decode(value))
        except msgspec.DecodeError as error:
            _log.debug("recorded run unreadable", extra={"run_id": run_id, "error": str(error)})
    return outcomes


def prune_runs(connection: sqlite3.Connection, now: float, retention: float, *, limit: int = _MAX_RUNS) -> int:
    """Delete runs that started more than ``retention`` seconds before ``now``, failures after four times as long.

    At most the last ``limit`` failures and the last ``limit`` others stay, because a clock step can keep runs from
    ageing. Returns the number of deleted runs: at most :data:`MAX_PRUNED_PER_CALL` failures and as many others, for
    each of the two reasons. The next call deletes the rest.

    Raises:
        sqlite3.Error: if the runs cannot be deleted.
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
    except UnicodeEncodeError:  # a lone surrogate in the response of a provider must not lose the run
        return json.dumps(msgspec.to_builtins(outcome), ensure_ascii=False).encode("utf-8", "replace")
