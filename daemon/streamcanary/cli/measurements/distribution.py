"""The distribution of a measure: exact percentiles, and a histogram for people."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from msgspec import Struct

_BARS = "▁▂▃▄▅▆▇█"


class Bin(Struct, frozen=True):
    """The ``count`` values of a histogram from ``low`` to ``high``; ``high`` itself is in the next bin but the last."""

    low: float
    high: float
    count: int


class Distribution:
    """Values of a measure, none of them negative. ``more_is_better``: of a speed, in contrast to a time."""

    def __init__(self, values: Iterable[float] = (), *, more_is_better: bool = False) -> None:
        self._more_is_better = more_is_better
        self._values = sorted(values)
        self._is_sorted = True

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: float) -> None:
        """Add a value."""
        self._values.append(value)
        self._is_sorted = False

    def percentile(self, percent: float) -> float | None:
        """Return the best value such that ``percent`` of the values are as good or better; ``None`` without values.

        100 is the worst value: the greatest time, or the least speed. This is the nearest rank: a value that was
        measured, never one between two.
        """
        values = self._sorted()
        if not values:
            return None
        rank = max(0, math.ceil(percent / 100 * len(values) - 1e-9) - 1)
        return values[-1 - rank if self._more_is_better else rank]

    def histogram(self, count: int = 8) -> tuple[Bin, ...]:
        """Return at most ``count`` bins from the least value to the greatest, each wider than the last by a factor.

        Values that vary by less than a tenth have one bin: more would show nothing but noise.
        """
        values = self._sorted()
        if not values:
            return ()
        low, high = values[0], values[-1]
        start = max(low, high / 1000, 1e-9)  # times of zero have no logarithm
        if high < start * 1.1:
            return (Bin(low, high, len(values)),)
        edges = [start * (high / start) ** (number / count) for number in range(1, count)]
        places = [0, *(bisect_left(values, edge) for edge in edges), len(values)]
        return tuple(
            Bin(*limits, upper - lower)
            for limits, lower, upper in zip(
                zip((low, *edges), (*edges, high), strict=True), places, places[1:], strict=False
            )
        )

    def _sorted(self) -> Sequence[float]:
        if not self._is_sorted:
            self._values.sort()
            self._is_sorted = True
        return self._values


def bar(count: int, most: int, width: int = 24) -> str:
    """Return a bar for ``count`` of at most ``most``; empty only for zero."""
    return "█" * max(1, round(count / most * width)) if count else ""


def sparkline(counts: Sequence[int]) -> str:
    """Return one character for each of ``counts``, as high as its part of the greatest one."""
    most = max(counts, default=0)
    return "".join(" " if not count else _BARS[math.ceil(count / most * len(_BARS)) - 1] for count in counts)
