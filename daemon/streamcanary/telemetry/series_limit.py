"""The number of attribute sets that a metric may have, by the number of canaries."""

from typing import Final

from streamcanary.model.faults import FaultKind

SERIES_PER_CANARY: Final = 2 * len(FaultKind)
"""Attribute sets of one canary on the largest metric: ``failed`` and ``failed_over`` with each kind of fault."""

RELOAD_CANARIES: Final = 200
"""Canaries whose metric series have room, at least: a reload may add them, but cannot change the limits."""

DEFAULT_LIMIT: Final = 2000
"""Attribute sets per metric unless more are expected: the default of the SDK."""

MAX_LIMIT: Final = 100_000
"""The highest number of attribute sets per metric; those of a histogram take about 1 kB each."""


def expected_series(canaries: int, *, can_reload: bool) -> int:
    """Return the attribute sets of the largest metric that ``canaries`` and those of a reload can have."""
    return max(canaries, RELOAD_CANARIES if can_reload else 0) * SERIES_PER_CANARY


def series_limit(expected: int) -> int:
    """Return the limit for ``expected`` attribute sets of the largest metric: 1.5 times that, within the bounds.

    Further attribute sets are merged into one with ``otel.metric.overflow``.
    """
    return min(max(DEFAULT_LIMIT, expected * 3 // 2), MAX_LIMIT)
