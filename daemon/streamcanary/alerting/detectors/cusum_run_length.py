"""The average run length of the Bernoulli CUSUM as a Markov chain: the mean number of runs to fire and to resolve.

The sum is an integer from 0 to ``threshold``. A bad sample adds ``step`` to it, a good one subtracts 1, and it stays
within these limits. Page, *Continuous inspection schemes*, Biometrika 41 (1954), defines the CUSUM and its average run
length. Reynolds and Stoumbos, *A CUSUM chart for monitoring a proportion when inspecting continuously*, Journal of
Quality Technology 31 (1999), define the one of single samples, with the ratio of the two steps rounded to an integer as
here. The chain is therefore an exact model of the detector, not an approximation.

The chain goes down by one at a time, so it is solved in one pass from the top: a state ``k`` below the threshold is
left upwards (the detector fires) with probability ``u``, else to the next state down, after ``c`` samples on average.
No nearly equal numbers are subtracted, so the result is numerically exact even for very rare alerts.
"""

from collections.abc import Iterator
from itertools import islice


def runs_to_fire_by_threshold(step: int, rate: float) -> Iterator[float]:
    """Yield the mean number of samples from zero until the sum reaches 1, 2, 3 and so on; the iterator does not end.

    ``rate`` (over 0, up to 1) is the fraction of bad samples; samples are independent.
    """
    ups: list[float] = []
    counts: list[float] = []
    while True:
        # after a bad sample: the mean samples until it fires or returns to this state, and the probabilities
        count, stays, fires = 0.0, 1.0, 0.0
        if len(ups) < step:
            stays, fires = 0.0, 1.0
        else:
            for up, samples in zip(ups[-step:], counts[-step:], strict=True):
                count += stays * samples
                fires += stays * up
                stays *= 1 - up
        yield (1 + rate * count) / (rate * fires)
        leaves = 1 - rate * stays
        ups.append(rate * fires / leaves)
        counts.append((1 + rate * count) / leaves)


def runs_to_fire(step: int, threshold: int, rate: float) -> float:
    """Return the mean number of samples from zero until the sum reaches ``threshold``, at an error rate of ``rate``."""
    return next(islice(runs_to_fire_by_threshold(step, rate), threshold - 1, None))


def runs_to_resolve(step: int, threshold: int, rate: float) -> float:
    """Return the mean number of samples from ``threshold`` down to zero, at an error rate of ``rate`` below 1."""
    downs: list[float] = []  # mean samples to go down by one, from the threshold downwards
    for _ in range(threshold):
        downs.append((1 + rate * sum(downs[-step:])) / (1 - rate))
    return sum(downs)
