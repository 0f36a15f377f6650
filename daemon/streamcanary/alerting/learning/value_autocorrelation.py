"""Estimates from the values of a measure how much the slow ones of them cluster, when the days are too few to count it.

A day has few bursts of slow answers, so that their number says little, and a few long ones may be incidents. But each
value says something: where load makes answers slow for an hour, those that are not slow follow each other, too. All
functions are pure. The steps, and why the estimate is robust:

1. In each block of about two hours, the autocorrelation of neighbours is that of their ranks (Spearman), corrected for
   the bias of short series (Kendall, *Note on bias in the estimation of autocorrelation*, Biometrika 41, 1954). A
   single value of minutes counts as any other, and the hours of the day, which differ, are in different blocks.
2. It is the median over the blocks, with an upper bound: an outage is in a few of the blocks.
3. The answers above a high quantile cluster less than all values do. For a Gaussian process they are as the Markov
   chain whose counts vary as theirs (:func:`_of_exceedances`).
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import Final

BLOCK_SPAN: Final = 2 * 3600.0
"""Seconds of a block: longer than most bursts of load, and shorter than the differences between hours of the day."""

_MIN_BLOCK, _MAX_BLOCK = 25, 250  # values
_MIN_BLOCKS = 7
_MIN_AUTOCORRELATION = 0.2  # independent values have less by chance
_HIGHEST = 0.995
_Z = 1.6449  # of the standard normal distribution, 95 % one-sided
_MEDIAN_ERROR = 1.2533  # the standard error of a median, compared with that of a mean
_FIRST_SHARE, _LAST_SHARE = 0.35, 0.6  # see _of_exceedances


def autocorrelation_of_slow_values(series: Iterable[Sequence[float]], span: float) -> float:
    """Return the autocorrelation of the values above their 90 % quantile in ``series`` that last ``span`` seconds.

    It is the highest of those of ``series``, such as that of each canary and that of all of them in turn; 0 if their
    values are independent, or too few.
    """
    return _of_exceedances(max((_of_values(values, span) for values in series), default=0.0))


def _of_values(values: Sequence[float], span: float) -> float:
    """Return the upper bound of the autocorrelation of neighbours in ``values``; 0 if they may be independent."""
    size = max(_MIN_BLOCK, min(_MAX_BLOCK, round(len(values) * BLOCK_SPAN / max(span, 1.0))))
    count = len(values) // size
    if count < _MIN_BLOCKS:
        return 0.0
    found = median(_of_ranks(values[number * size : (number + 1) * size]) for number in range(count))
    corrected = (size * found + 1) / (size - 3)
    if corrected < _MIN_AUTOCORRELATION:
        return 0.0
    error = _MEDIAN_ERROR * math.sqrt(max(0.0, 1 - min(corrected, 1.0) ** 2) / (size * count))
    return min(corrected + _Z * error, _HIGHEST)


def _of_ranks(values: Sequence[float]) -> float:
    """Return the autocorrelation of the ranks of neighbours; equal values have the same rank."""
    ordered = sorted(values)
    middle = len(values) - 1
    ranks = [bisect_left(ordered, value) + bisect_right(ordered, value) - 1 - middle for value in values]
    squares = sum(rank * rank for rank in ranks)
    return sum(one * other for one, other in pairwise(ranks)) / squares if squares else 0.0


def _of_exceedances(autocorrelation: float) -> float:
    """Return the autocorrelation of the Markov chain that varies as the values above the 90 % quantile do.

    The autocorrelations of a Gaussian process decrease by the factor ``autocorrelation`` (r) with each value, and have
    the sum ``r / (1 - r)``. Those of whether it is above its 90 % quantile have a part of it, from 0.34 for a low r to
    0.6 for a high one, by the series of the bivariate normal distribution in Hermite polynomials.
    """
    share = _FIRST_SHARE + (_LAST_SHARE - _FIRST_SHARE) * autocorrelation
    total = share * autocorrelation / (1 - autocorrelation)
    return total / (1 + total)
