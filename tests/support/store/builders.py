"""Builders for tests that use a store."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.store import opening
from streamcanary.store.config import StoreConfig
from streamcanary.store.database import Store
from streamcanary.store.sqlite.backend import SqliteBackend

NOON = 1_770_000_000.0
"""2026-02-02 02:40 UTC, in seconds since the epoch."""

CHILD_ENVIRONMENT = {**os.environ, "PYTHONWARNINGS": "error"}
"""The environment of a program under test."""


@dataclass
class FrozenClock:
    """A clock that stands still until it is set."""

    wall_time: float = NOON
    monotonic_time: float = 1000.0

    def time(self) -> float:
        """Return the wall time that is set."""
        return self.wall_time

    def monotonic(self) -> float:
        """Return the monotonic time that is set."""
        return self.monotonic_time

    def advance(self, seconds: float) -> None:
        """Advance both clocks."""
        self.wall_time += seconds
        self.monotonic_time += seconds


def open_store(path: Path, clock: FrozenClock | None = None, *, keep: float = 3600.0, timeout: float = 10.0) -> Store:
    """Open a store at ``path`` that keeps runs for an hour."""
    return opening.open_store(StoreConfig(path=path, keep=keep), clock or FrozenClock(), timeout=timeout)


def sqlite_backend(store: Store) -> SqliteBackend:
    """Return the file behind ``store``."""
    assert isinstance(store.backend, SqliteBackend)
    return store.backend


def corrupt_path(store: Store) -> Path | None:
    """Return the path to which the last corrupt file of ``store`` was renamed."""
    return sqlite_backend(store).corrupt_path


def make_outcome(number: int, **changes: Any) -> Outcome:
    """Build the outcome of run ``number`` of the canary ``chat``: ok, started ``number`` seconds after noon."""
    values: dict[str, Any] = {
        "run_id": f"run-{number}",
        "canary": "chat",
        "target": "openai",
        "provider": "openai",
        "kind": OutcomeKind.OK,
        "scheduled": NOON + number,
        "started": NOON + number,
        "duration": 1.5,
    }
    return Outcome(**{**values, **changes})
