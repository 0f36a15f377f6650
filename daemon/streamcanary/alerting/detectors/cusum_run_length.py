"""The average run length of the Bernoulli CUSUM as a Markov chain: the mean number of runs to fire and to resolve.

The sum is an integer from 0 to ``threshold``. A bad sample adds ``step`` to it, a good one subtracts 1, and it stays
within these limits. Page, *Continuous inspection schemes*, Biometrika 41 (1954), defines the CUSUM and its average run
length. Reynolds and Stoumbos, *A CUSUM chart for monitoring a proportion when inspecting continuously*, Journal of
Quality Technology 31 (1999), define the one of single samples, with the ratio of the two steps rounded to an integer as
here. The chain is therefore an exact model of the detector, not an approximation.

Errors may come in bursts: the samples are themselves a Markov chain of two states with the stationary share ``rate`` of
bad ones and the lag-1 ``autocorrelation`` r. After a bad sample the next is bad with probability rate + r (1 - rate),
after a good one with rate (1 - r). With r = 0 they are independent. Mousavi and Reynolds, *A CUSUM chart for monitoring
a proportion with autocorrelated binary observations*, Journal of Quality Technology 41 (2009), describe this process.

The chain goes down by one at a time, and only at a good sample, so it is solved in one pass from the top: a state ``k``
below the threshold is left upwards (the detector fires) with probability ``u``, else to the next state down, after
``c`` samples on average, and there the last sample was good. Only the state that a bad sample leads to begins after a
bad one. No nearly equal numbers are subtracted, so the result is numerically exact even for very rare alerts.
"""

import math
from collections.abc import Iterator
from itertools import islice

_NEVER = 1e15  # samples: longer than any service runs


def bad_probabilities(rate: float, autocorrelation: float) -> tuple[float, float]:
    """Return the probability of a bad sample after a good one, and after a bad one."""
    return rate * (1 - autocorrelation), rate + autocorrelation * (1 - rate)


def runs_to_fire_by_threshold(step: int, rate: float, autocorrelation: float = 0.0) -> Iterator[float]:
    """Yield the mean number of samples from zero until the sum reaches 1, 2, 3 and so on; the iterator does not end.

    ``rate`` (over 0, up to 1) is the fraction of bad samples. The sample before the first is of the same process.
    """
    after_good, after_bad = bad_probabilities(rate, autocorrelation)
    ups: list[float] = []  # of the states from the threshold downwards, when the last sample was good
    counts: list[float] = []
    ups_after_bad: list[float] = []
    counts_after_bad: list[float] = []
    while True:
        # after a bad sample: the mean samples until it fires or returns to this state, and the probabilities
        count, stays, fires = 0.0, 0.0, 1.0
        if len(ups) >= step:
            count, fires = counts_after_bad[-step], ups_after_bad[-step]
            stays = 1 - fires
            if step > 1:
                for up, samples in zip(ups[1 - step :], counts[1 - step :], strict=True):
                    count += stays * samples
                    fires += stays * up
                    stays *= 1 - up
        to_fire = (1 + after_good * count) / (after_good * fires) if after_good else math.inf
        yield 1 + rate * (count + (stays * to_fire if stays else 0)) + ((1 - rate) * to_fire if rate < 1 else 0)
        leaves = 1 - after_good * stays
        up, samples = after_good * fires / leaves, (1 + after_good * count) / leaves
        ups.append(up)
        counts.append(samples)
        ups_after_bad.append(after_bad * (fires + stays * up))
        counts_after_bad.append(1 + after_bad * (count + stays * samples))


def runs_to_fire(step: int, threshold: int, rate: float, autocorrelation: float = 0.0) -> float:
    """Return the mean number of samples from zero until the sum reaches ``threshold``, at an error rate of ``rate``."""
    return next(islice(runs_to_fire_by_threshold(step, rate, autocorrelation), threshold - 1, None))


def runs_to_resolve(step: int, threshold: int, rate: float, autocorrelation: float = 0.0) -> float:
    """Return the mean number of samples from ``threshold``, after a bad one, down to zero.

    It is infinite if it practically never resolves. ``rate`` is the error rate. A bad sample adds ``step``,
    up to ``threshold``.
    """
    after_good, after_bad = bad_probabilities(rate, autocorrelation)
    if after_bad >= 1:
        return math.inf
    # mean samples to go down by one, from the threshold downwards: after a good sample, and after a bad one
    downs_after_bad = [1 / (1 - after_bad)]
    downs = [1 + after_good * downs_after_bad[0]]
    total = downs_after_bad[0]
    for number in range(1, threshold):
        top = max(number - step, 0)  # where a bad sample leads to
        returns = downs_after_bad[top] + sum(downs[top + 1 : number])
        down = (1 + after_good * returns) / (1 - after_good)
        if number > 2 * step and math.isclose(down, downs[-step], rel_tol=1e-12):
            return total + down * (threshold - number)
        downs.append(down)
        downs_after_bad.append(1 + after_bad * (returns + down))
        total += down
        if total > _NEVER:
            return math.inf
    return total
