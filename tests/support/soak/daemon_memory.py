"""Judges whether the memory of a daemon is flat."""

from collections.abc import Sequence
from statistics import median
from typing import Final, NamedTuple

MAX_BLOCKS: Final = 7_000.0
"""Blocks of Python between the two quarters, at most: less than one object for two runs of a whole day."""

MAX_ALLOCATED: Final = 0.75
"""MB in use between the two quarters, at most: 50 bytes for each run of a whole day, of which 28,800 are a day of 20
canaries that run each minute. A pod which takes 90 MB of the 256 MB that the chart grants would last for four months.
It is also what the histories of canaries that fail rarely still grow by."""

MAX_SIZE: Final = 3.0
"""MB of resident memory between the two quarters, at most. Free memory between objects in use, and garbage that is not
collected yet, make two quarters differ by up to 2 MB, without a trend; what is in use shows less."""


class MemorySample(NamedTuple):
    """A daemon that has made ``runs`` takes ``size`` MB (2²⁰ bytes) of resident memory.

    In use are ``allocated`` MB from ``malloc()``, and ``blocks`` of Python's memory.
    """

    runs: int
    size: float
    allocated: float
    blocks: float


class Growth(NamedTuple):
    """The memory in the second quarter of the runs and in the last: the median of what is taken, and the least in use.

    In the first quarter the daemon warms up: caches and the latest runs that are kept of each canary grow to their
    limits.
    """

    second: MemorySample
    last: MemorySample

    @property
    def per_1000_runs(self) -> tuple[float, float, float]:
        """The growth of resident memory (MB), of memory in use (MB), and of blocks, in 1,000 runs."""
        runs, size, allocated, blocks = self._difference
        return 1000 * size / runs, 1000 * allocated / runs, 1000 * blocks / runs

    @property
    def problem(self) -> str:
        """Why the memory is not flat; empty if it is."""
        runs, size, allocated, blocks = self._difference
        for grown, limit, what in (
            (blocks, MAX_BLOCKS, "blocks of Python's memory are in use"),
            (allocated, MAX_ALLOCATED, "MB are in use"),
            (size, MAX_SIZE, "MB of resident memory are taken"),
        ):
            if grown > limit:
                return f"after {runs:.0f} runs, {grown:.1f} more {what}; {limit:g} are permitted"
        return ""

    @property
    def _difference(self) -> tuple[float, float, float, float]:
        runs, size, allocated, blocks = (after - before for before, after in zip(self.second, self.last, strict=True))
        return runs, size, allocated, blocks


def measure_growth(samples: Sequence[MemorySample]) -> Growth:
    """Return the growth between the second and the last quarter of the runs.

    Raises:
        ValueError: if there is no sample in one of them.
    """
    total = samples[-1].runs if samples else 0
    second = _typical([one for one in samples if total / 4 <= one.runs < total / 2])
    last = _typical([one for one in samples if 3 * total / 4 <= one.runs])
    if second is None or last is None or last.runs == second.runs:
        raise ValueError("there are too few samples to tell whether memory grows")
    return Growth(second, last)


def _typical(samples: Sequence[MemorySample]) -> MemorySample | None:
    """Return the medians of runs and resident memory, and the least in use, as that of the others is soon free.

    Returns ``None`` without samples.
    """
    if not samples:
        return None
    runs, sizes, allocated, blocks = zip(*samples, strict=True)
    return MemorySample(round(median(runs)), median(sizes), min(allocated), min(blocks))
