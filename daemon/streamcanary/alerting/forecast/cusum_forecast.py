"""How often the CUSUM of a ``spike`` fires at a steady error rate, with the good runs that double at each repeat.

From zero to firing, and from each of the numbers of good runs to the resolve, the mean numbers of samples are exact.
Their distributions are those of a fixed time and an exponential time after it, which is what the time to the first
success of rare, nearly independent trials is close to.
"""

import math
from functools import lru_cache
from typing import Final, NamedTuple

from streamcanary.alerting.detectors import Cusum
from streamcanary.alerting.detectors.cusum import REPEAT_WINDOW
from streamcanary.alerting.detectors.cusum_run_length import runs_to_fire, runs_to_resolve

DAY: Final = 86400.0
_CELLS = 240  # into which a day is divided
_MAX_CYCLES = 200
_NEGLIGIBLE = 1e-3  # of a notification a day


class _Wait(NamedTuple):
    """A random number of samples: ``fixed`` ones, and further ones with an exponential distribution of ``mean``."""

    fixed: float
    mean: float

    @property
    def total(self) -> float:
        """The mean of the whole number of samples."""
        return self.fixed + self.mean


class CusumForecast(NamedTuple):
    """The forecast of ``cusum`` for samples every ``interval`` seconds with a lag-1 ``autocorrelation`` of failures."""

    cusum: Cusum
    interval: float
    autocorrelation: float

    def runs_to_fire(self, rate: float) -> float:
        """Return the mean number of samples from zero until it fires at an error ``rate``."""
        return runs_to_fire(self.cusum.step, self.cusum.threshold, rate, self.autocorrelation)

    def pages_per_run(self, rate: float) -> float:
        """Return how often it fires in the long run, per sample, at an error ``rate``.

        After a resolve it fires again within a day, with more good runs needed, or later, with the first number.
        """
        fires = self._time_to_fire(rate)
        window = REPEAT_WINDOW / self.interval
        forgets = math.exp(-(window - fires.fixed) / fires.mean) if window > fires.fixed and fires.mean else 0.0
        cycle, share = fires.total, 1.0
        for number, good_runs in enumerate(self.cusum.good_runs, 1):
            reached = share * (forgets if number < len(self.cusum.good_runs) else 1)
            if reached > 0:
                cycle += reached * self._time_to_resolve(good_runs, rate).total
            share -= reached
        return 1 / cycle

    def notifications_a_day(self, rate: float) -> float:
        """Return the mean number of alerts in the first day of a steady error ``rate``."""
        return _alerts_in_a_day(
            self._time_to_fire(rate),
            tuple(self._time_to_resolve(good_runs, rate) for good_runs in self.cusum.good_runs),
            DAY / self.interval,
        )

    def _time_to_fire(self, rate: float) -> _Wait:
        mean = self.runs_to_fire(rate)
        if rate * (self.cusum.step + 1) > 1:  # the sum rises steadily, and the time hardly varies
            return _Wait(mean, 0.0)
        least = min(math.ceil(self.cusum.threshold / self.cusum.step), mean)
        return _Wait(least, mean - least)

    def _time_to_resolve(self, good_runs: int, rate: float) -> _Wait:
        mean = runs_to_resolve(self.cusum.resolve_step, good_runs, rate, self.autocorrelation)
        return _Wait(good_runs, max(mean - good_runs, 0.0))


@lru_cache(maxsize=4096)
def _alerts_in_a_day(fires: _Wait, resolves: tuple[_Wait, ...], runs: float) -> float:
    """Return the mean number of times that a series of waits ``fires``, ``resolves[0]``, ``fires`` … fires in ``runs``.

    It convolves the distributions of the waits, in cells of equal length.
    """
    cell = runs / _CELLS
    starts, alerts = [1.0] + [0.0] * (_CELLS - 1), 0.0
    for cycle in range(_MAX_CYCLES):
        fired = _convolve(starts, fires, cell)
        number = sum(fired)
        alerts += number
        starts = _convolve(fired, resolves[min(cycle, len(resolves) - 1)], cell)
        if number < _NEGLIGIBLE:
            break
    return alerts


def _convolve(shares: list[float], wait: _Wait, cell: float) -> list[float]:
    """Return ``shares``, of each time cell, after ``wait``; what is later than the last cell is left out."""
    if wait.mean == math.inf:
        return [0.0] * len(shares)
    whole, part = divmod(min(wait.fixed / cell, len(shares)), 1)
    first = int(whole)
    stays = wait.mean / (wait.mean + cell)  # a geometric distribution over cells, with the same mean
    leaving, after = 0.0, [0.0] * len(shares)
    for number in range(first, len(shares)):
        at = number - first
        arrived = shares[at] * (1 - part) + (shares[at - 1] * part if at else 0.0)
        leaving = leaving * stays + arrived
        after[number] = leaving * (1 - stays)
    return after
