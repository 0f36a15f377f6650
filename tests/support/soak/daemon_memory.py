"""Judges whether the memory of a daemon is flat."""

from collections.abc import Sequence
from statistics import median
from typing import Final, NamedTuple

MAX_BLOCKS: Final = 500.0
"""Blocks of Python in 1,000 runs, at most: less than one object for two runs."""

MAX_ALLOCATED: Final = 0.05
"""MB in use in 1,000 runs, at most: 50 bytes a run. 20 canaries that run each minute make 28,800 runs a day, so that a
pod which takes 90 MB of the 256 MB that the chart grants would last for four months. It is also what histories of
canaries that fail rarely still grow by."""

MAX_SIZE: Final = 0.2
"""MB of resident memory in 1,000 runs, at most. Free memory between objects in use makes two quarters of a day differ
by up to 2 MB, without a trend; what is in use shows less."""


class MemorySample(NamedTuple):
    """A daemon that has made ``runs`` takes ``size`` MB (2²⁰ bytes) of resident memory.

    In use are ``allocated`` MB from ``malloc()``, and ``blocks`` of Python's memory.
    """

    runs: int
    size: float
    allocated: float
    blocks: float


class Growth(NamedTuple):
    """The resident memory in the second quarter of the runs and in the last, and the change of each measure.

    ``size`` and ``allocated`` are MB in 1,000 runs, ``blocks`` a number in 1,000 runs. In the first quarter the daemon
    warms up: caches and the latest runs that are kept of each canary grow to their limits.
    """

    before: float
    after: float
    size: float
    allocated: float
    blocks: float

    @property
    def problem(self) -> str:
        """Why the memory is not flat; empty if it is."""
        if self.blocks > MAX_BLOCKS:
            return f"after 1,000 runs, {self.blocks:.0f} blocks more of Python's memory are in use"
        if self.allocated > MAX_ALLOCATED:
            return (
                f"after 1,000 runs, {self.allocated:.3f} MB more are in use, at most {MAX_ALLOCATED:g} MB would be flat"
            )
        if self.size > MAX_SIZE:
            return f"the daemon takes {self.size:.3f} MB more after 1,000 runs, at most {MAX_SIZE:g} MB would be flat"
        return ""


def measure_growth(samples: Sequence[MemorySample]) -> Growth:
    """Return the growth between the medians of the second and the last quarter of the runs.

    Raises:
        ValueError: if there is no sample in one of them.
    """
    total = samples[-1].runs if samples else 0
    second = _medians([one for one in samples if total / 4 <= one.runs < total / 2])
    last = _medians([one for one in samples if 3 * total / 4 <= one.runs])
    if second is None or last is None or last.runs == second.runs:
        raise ValueError("there are too few samples to tell whether memory grows")
    thousands = (last.runs - second.runs) / 1000
    size, allocated, blocks = ((after - before) / thousands for before, after in zip(second[1:], last[1:], strict=True))
    return Growth(second.size, last.size, size, allocated, blocks)


def _medians(samples: Sequence[MemorySample]) -> MemorySample | None:
    """Return the median of each field; ``None`` without samples."""
    return MemorySample(*map(median, zip(*samples, strict=True))) if samples else None
