"""Judges whether the memory of a daemon is flat."""

from collections.abc import Sequence
from statistics import median
from typing import Final, NamedTuple

MAX_GROWTH: Final = 0.05
"""MB in 1,000 runs. 20 canaries that run each minute make 28,800 runs a day, so that a pod which needs 90 MB of the
256 MB that the chart grants lasts for four months at this growth; and it is what the median of a quarter varies by."""

MAX_BLOCKS: Final = 500.0
"""Blocks of Python in 1,000 runs: less than one object for two runs."""


class MemorySample(NamedTuple):
    """A daemon that has made ``runs`` takes ``size`` MB (2²⁰ bytes), and ``blocks`` of Python's memory are in use."""

    runs: int
    size: float
    blocks: float


class Growth(NamedTuple):
    """How much memory a daemon takes in the second quarter of its runs and in the last, and the change in 1,000 runs.

    In the first quarter it warms up: caches and the latest runs that are kept of each canary grow to their limits.
    """

    before: float
    after: float
    size: float
    blocks: float

    @property
    def problem(self) -> str:
        """Why the memory is not flat; empty if it is."""
        if self.size > MAX_GROWTH:
            return f"the daemon takes {self.size:.3f} MB more after 1,000 runs; {MAX_GROWTH:g} MB would be flat"
        if self.blocks > MAX_BLOCKS:
            return f"the daemon has allocated {self.blocks:.0f} blocks more after 1,000 runs"
        return ""


def measure_growth(samples: Sequence[MemorySample]) -> Growth:
    """Return the growth between the medians of the second and the last quarter of the runs.

    Raises:
        ValueError: if there is no sample in one of them.
    """
    total = samples[-1].runs if samples else 0
    second = [one for one in samples if total / 4 <= one.runs < total / 2]
    last = [one for one in samples if 3 * total / 4 <= one.runs]
    if not second or not last:
        raise ValueError("there are too few samples to tell whether memory grows")
    thousands = (_median(last, "runs") - _median(second, "runs")) / 1000
    before, after = _median(second, "size"), _median(last, "size")
    blocks = _median(last, "blocks") - _median(second, "blocks")
    return Growth(before, after, (after - before) / thousands, blocks / thousands)


def _median(samples: Sequence[MemorySample], field: str) -> float:
    return float(median(getattr(one, field) for one in samples))
