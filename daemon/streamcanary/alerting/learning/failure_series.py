"""A series of good and bad samples in the order of time, as the lengths of the runs of good samples between bad ones.

Bad samples are rare, so the series is short, and everything that is computed from it takes one step a bad sample.
"""

from array import array
from collections.abc import Iterable, Iterator
from itertools import chain


class FailureSeries:
    """Good and bad samples, the oldest first. ``bad`` of ``total`` samples are bad."""

    def __init__(self, samples: Iterable[bool] = ()) -> None:
        self._good_before = array("L")  # for each bad sample, the good ones since the bad one before it
        self._good_after = 0  # good samples since the last bad one
        self._good = 0
        for bad in samples:
            self.append(bad=bad)

    @property
    def bad(self) -> int:
        """The number of bad samples."""
        return len(self._good_before)

    @property
    def total(self) -> int:
        """The number of samples."""
        return self._good + len(self._good_before)

    @property
    def repeats(self) -> int:
        """The number of bad samples whose sample before is bad, too."""
        first_is_bad = bool(self._good_before) and self._good_before[0] == 0
        return self._good_before.count(0) - first_is_bad

    @property
    def followed(self) -> int:
        """The number of bad samples that have a sample after them."""
        return self.bad - (self.bad > 0 and self._good_after == 0)

    def append(self, *, bad: bool) -> None:
        """Add the next sample."""
        if bad:
            self._good_before.append(self._good_after)
            self._good_after = 0
        else:
            self._good_after += 1
            self._good += 1

    def without_incidents(self, step: int, threshold: int) -> tuple["FailureSeries", int]:
        """Return the samples outside incidents, as one series, and the number of incidents.

        An incident is an excursion of a CUSUM (a bad sample adds ``step``, a good one takes 1, within 0 and
        ``threshold``) that reaches ``threshold``: all samples from the one with which the sum leaves zero until it is
        zero again. It begins with a bad sample after a good one, and ends with a good one, so no two bad samples become
        neighbours.
        """
        kept = FailureSeries()
        incidents = 0
        total = 0  # the sum before the next bad sample
        is_incident = False
        excursion: list[int] = []  # good samples before each bad one of the excursion
        for spacing in self._good_before:
            good = spacing
            if excursion and good >= total:  # the excursion ends with the `total`-th good sample
                kept._close_excursion(excursion, total, is_incident=is_incident)
                good, total, is_incident, excursion = good - total, 0, False, []
            if not excursion:
                kept._extend_good(good)
                good = 0
            total = min(total - good + step, threshold)
            if total == threshold and not is_incident:
                is_incident, incidents = True, incidents + 1
            excursion.append(good)
        ended = min(self._good_after, total)
        kept._close_excursion(excursion, ended, is_incident=is_incident)
        kept._extend_good(self._good_after - ended)
        return kept, incidents

    def blocks(self, size: int) -> Iterator["FailureSeries"]:
        """Yield the series in blocks of ``size`` samples; the last one may be longer, by less than ``size``.

        Raises:
            ValueError: if ``size`` is not positive.
        """
        if size < 1:
            raise ValueError(f"a block of {size} samples")
        left = max(1, self.total // size)  # blocks that are not yielded yet
        block = FailureSeries()
        spacings = chain(((good, True) for good in self._good_before), ((self._good_after, False),))
        for good, ends_bad in spacings:
            remaining = good
            while left > 1 and block.total + remaining >= size:
                space = size - block.total
                block._extend_good(space)
                yield block
                remaining, block, left = remaining - space, FailureSeries(), left - 1
            block._extend_good(remaining)
            if ends_bad:
                block.append(bad=True)
        if block.total:
            yield block

    def __iter__(self) -> Iterator[bool]:
        """Yield for each sample whether it is bad."""
        for good in self._good_before:
            yield from (False for _ in range(good))
            yield True
        yield from (False for _ in range(self._good_after))

    def _extend_good(self, count: int) -> None:
        self._good_after += count
        self._good += count

    def _close_excursion(self, good_before: list[int], good_after: int, *, is_incident: bool) -> None:
        """Add an excursion of a CUSUM, unless it is an incident."""
        if not is_incident:
            for good in good_before:
                self._extend_good(good)
                self.append(bad=True)
            self._extend_good(good_after)
