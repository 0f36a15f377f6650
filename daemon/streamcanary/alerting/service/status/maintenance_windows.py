"""The maintenance windows of the next days."""

from collections.abc import Iterator, Mapping
from heapq import merge
from itertools import islice
from typing import Final

from streamcanary.alerting.maintenance import Maintenance
from streamcanary.model.status.alert_history import MaintenanceWindow

HORIZON: Final = 7 * 86400.0
"""Seconds from now in which windows are listed."""

MAX_WINDOWS: Final = 100
"""The maximum number of windows in the list."""


def maintenance_windows(maintenance: Mapping[str, Maintenance], now: float) -> tuple[MaintenanceWindow, ...]:
    """Return the windows that are open at ``now`` (seconds since the epoch) or open in 7 days, the first ones first."""
    windows = (
        ((window.starts, name, window) for window in _windows(name, one, now)) for name, one in maintenance.items()
    )
    return tuple(window for _, _, window in islice(merge(*windows), MAX_WINDOWS))


def _windows(name: str, maintenance: Maintenance, now: float) -> Iterator[MaintenanceWindow]:
    starts = now - maintenance.length
    while (starts := maintenance.schedule.nth_run_after(starts, 1)) <= now + HORIZON:
        yield MaintenanceWindow(
            name=name,
            match=tuple(map(str, maintenance.match)),
            starts=starts,
            ends=starts + maintenance.length,
        )
