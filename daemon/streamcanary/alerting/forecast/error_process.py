"""The error process of simulations: bad runs that are independent, or that come in bursts.

The runs are a Markov chain of two states, see :mod:`streamcanary.alerting.detectors.cusum_run_length`. It is the same
forwards and backwards in time. So the gaps between bad runs are drawn in both directions alike, and so is a window of
runs of which a number is bad: its bad runs follow each other at once, or after a series of good ones.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import NamedTuple, Protocol

from streamcanary.alerting.detectors.cusum_run_length import bad_probabilities

_NEGLIGIBLE = 1e-12


class ErrorProcess(NamedTuple):
    """Runs of which a share ``rate`` (over 0 and below 1) is bad, with a lag-1 ``autocorrelation``."""

    rate: float
    autocorrelation: float = 0.0

    def gap(self, random: Random) -> int:
        """Return a random number of runs from a bad run to the next bad one, or to the one before."""
        scale, after_bad = _gap_constants(*self)
        if not self.autocorrelation:
            return 1 + int(math.log(1 - random.random()) * scale)
        return 1 if random.random() < after_bad else 1 + self.gap_after_good(random)

    def gaps(self, random: Random) -> Iterator[int]:
        """Yield random numbers of runs as :meth:`gap` returns them, in less time; the iterator does not end."""
        (scale, after_bad), draw, log = _gap_constants(*self), random.random, math.log
        while not self.autocorrelation:
            yield 1 + int(log(1 - draw()) * scale)
        while True:
            yield 1 if draw() < after_bad else 2 + int(log(1 - draw()) * scale)

    def gap_after_good(self, random: Random) -> int:
        """Return a random number of runs from a good run to the next bad one, or to the one before."""
        return 1 + int(math.log(1 - random.random()) * _gap_constants(*self)[0])

    def first_gap(self, random: Random) -> int:
        """Return a random number of runs until the first bad one, where nothing is known of the run before."""
        if self.autocorrelation and random.random() < self.rate:
            return 1
        return self.gap_after_good(random) + bool(self.autocorrelation)


@lru_cache(maxsize=256)
def _gap_constants(rate: float, autocorrelation: float) -> tuple[float, float]:
    """Return the factor of an exponential gap after a good run, and the probability of a bad run after a bad one."""
    after_good, after_bad = bad_probabilities(rate, autocorrelation)
    return 1 / math.log1p(-after_good), after_bad


class FullWindow(Protocol):
    """The distribution of the bad runs in a window of ``runs`` when its threshold is reached at a bad run.

    The threshold is reached at ``share`` of the bad runs.
    """

    @property
    def runs(self) -> int:
        """The number of runs."""
        ...

    @property
    def min_bad(self) -> int:
        """The threshold."""
        ...

    @property
    def share(self) -> float:
        """The share of bad runs at which the threshold is reached."""
        ...

    def draw(self, random: Random) -> list[int]:
        """Return the positions of the bad runs in a random full window of which the last is bad, at 0."""
        ...


def full_window(runs: int, min_bad: int, process: ErrorProcess) -> FullWindow:
    """Return the distribution of a window of ``runs`` in which at least ``min_bad`` are bad, the last among them."""
    return _bursty_window(runs, min_bad, process) if process.autocorrelation else _plain_window(runs, min_bad, process)


class _PlainWindow(NamedTuple):
    """A full window of independent runs: of those before the last, ``fewest`` are bad, or more with ``weights``."""

    runs: int
    min_bad: int
    share: float
    fewest: int
    weights: list[float]

    def draw(self, random: Random) -> list[int]:
        """Return the positions of the bad runs in a random full window of which the last is bad, at 0."""
        [more] = random.choices(range(len(self.weights)), cum_weights=self.weights)
        return [*sorted(random.sample(range(1 - self.runs, 0), self.fewest + more)), 0]


@lru_cache(maxsize=1024)
def _plain_window(runs: int, min_bad: int, process: ErrorProcess) -> _PlainWindow:
    """Return the upper tail of a binomial distribution, summed from its mode outwards until terms are negligible."""
    others, fewest, rate = runs - 1, min_bad - 1, process.rate
    odds = rate / (1 - rate)
    top = max(fewest, min(others, int(others * rate)))
    log = math.lgamma(others + 1) - math.lgamma(top + 1) - math.lgamma(others - top + 1)
    log += top * math.log(rate) + (others - top) * math.log1p(-rate)
    weights = [1.0]
    for bad in range(top, fewest, -1):
        weights.insert(0, weights[0] * bad / (others - bad + 1) / odds)
        if weights[0] < _NEGLIGIBLE:
            break
    fewest = top - len(weights) + 1
    for bad in range(top + 1, others + 1):
        weights.append(weights[-1] * (others - bad + 1) / bad * odds)
        if weights[-1] < _NEGLIGIBLE:
            break
    share = min(1.0, math.exp(log) * sum(weights))
    return _PlainWindow(runs, min_bad, share, fewest, list(accumulate(weights)))


class _Layout(NamedTuple):
    """The composition of a window: of its ``bad`` runs before the last, ``apart`` follow a series of good runs.

    ``begins_good`` says that the first run of the window is a good one.
    """

    bad: int
    apart: int
    begins_good: bool


class _BurstyWindow(NamedTuple):
    """A full window of a process with bursts: it has one of ``layouts``, with the cumulative ``weights``."""

    runs: int
    min_bad: int
    share: float
    layouts: list[_Layout]
    weights: list[float]

    def draw(self, random: Random) -> list[int]:
        """Return the positions of the bad runs in a random full window of which the last is bad, at 0."""
        [(bad, apart, begins_good)] = random.choices(self.layouts, cum_weights=self.weights)
        good = self.runs - 1 - bad
        if good == 0:
            return list(range(1 - self.runs, 1))
        cuts = sorted(random.sample(range(1, good), apart + begins_good - 1))
        series = [end - start for start, end in zip([0, *cuts], [*cuts, good], strict=True)]
        is_apart = set(random.sample(range(bad), apart))
        positions = [0]
        for number in range(bad):
            positions.append(positions[-1] - 1 - (series.pop() if number in is_apart else 0))
        return positions[::-1]


@lru_cache(maxsize=1024)
def _bursty_window(runs: int, min_bad: int, process: ErrorProcess) -> _BurstyWindow:
    """Return the distribution over all layouts that are not negligible.

    It sums the probabilities from the most probable layout outwards, until they are negligible.
    """
    window = _Window(runs - 1, *bad_probabilities(*process))
    terms: dict[_Layout, float] = {}
    most = max(min_bad - 1, min(runs - 1, int((runs - 1) * process.rate)))
    log_scale = window.best(most)[1]
    for counts in (range(most, runs), range(most - 1, min_bad - 2, -1)):
        total = 0.0
        for bad in counts:
            found = {layout: math.exp(log - log_scale) for layout, log in window.layouts(bad)}
            terms |= found
            added = sum(found.values())
            total += added
            if added < _NEGLIGIBLE * total:
                break
    weights = list(accumulate(terms.values()))
    share = math.exp(min(0.0, log_scale + math.log(weights[-1]))) if weights and weights[-1] > 0 else 0.0
    return _BurstyWindow(runs, min_bad, share, list(terms), weights)


class _Window(NamedTuple):
    """A window of ``size`` runs before a bad one."""

    size: int
    after_good: float
    after_bad: float

    def layouts(self, bad: int) -> Iterator[tuple[_Layout, float]]:
        """Yield the layouts with ``bad`` bad runs that are not negligible, each with the log of its probability."""
        best, highest = self.best(bad)
        if highest == -math.inf:
            return
        for numbers in (range(best, bad + 1), range(best - 1, -1, -1)):
            for apart in numbers:
                logs = [(begins_good, self._log(bad, apart, begins_good=begins_good)) for begins_good in (False, True)]
                yield from ((_Layout(bad, apart, begins), log) for begins, log in logs if log > -math.inf)
                if max(log for _, log in logs) < highest + math.log(_NEGLIGIBLE):
                    break

    def best(self, bad: int) -> tuple[int, float]:
        """Return how many of ``bad`` bad runs most probably follow a series of good ones, and the log of that."""
        low, high = 0, max(0, min(bad, self.size - bad))
        while low < high:  # the probabilities rise, then fall
            middle = (low + high) // 2
            if self._log_either(bad, middle) < self._log_either(bad, middle + 1):
                low = middle + 1
            else:
                high = middle
        return low, self._log_either(bad, low)

    def _log_either(self, bad: int, apart: int) -> float:
        return max(self._log(bad, apart, begins_good=begins_good) for begins_good in (False, True))

    def _log(self, bad: int, apart: int, *, begins_good: bool) -> float:
        """Return the log of the probability of a layout."""
        good = self.size - bad
        series = apart + begins_good  # of good runs
        if series > good or (good > 0 and series == 0) or apart > bad:
            return -math.inf
        log = _log_choose(bad, apart) + (_log_choose(good - 1, series - 1) if series else 0.0)
        log += (bad - apart) * math.log(self.after_bad) + series * math.log1p(-self.after_bad)
        return log + apart * math.log(self.after_good) + (good - series) * math.log1p(-self.after_good)


def _log_choose(number: int, chosen: int) -> float:
    return math.lgamma(number + 1) - math.lgamma(chosen + 1) - math.lgamma(number - chosen + 1)
