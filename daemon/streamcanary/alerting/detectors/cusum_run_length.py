"""The Bernoulli CUSUM as a Markov chain: how many runs until it fires, and until it resolves.

The sum is a whole number from 0 to ``threshold``. A bad sample adds ``step`` to it, a good one takes 1 away, and it
stays between the two ends. Page, *Continuous inspection schemes*, Biometrika 41 (1954), has the CUSUM and its average
run length; Reynolds and Stoumbos, *A CUSUM chart for monitoring a proportion when inspecting continuously*, Journal
of Quality Technology 31 (1999), the one of single samples, with the ratio of the two steps rounded to a whole number
as it is here. So the chain is not an approximation of the detector: it is the detector.

The chain goes down by one at a time, so it is solved in one pass from the top: ``k`` below the threshold, a state is
left upwards (it fires) with probability ``u``, else one state down, after ``c`` samples on average. Nothing is
subtracted that is nearly equal, so the result is exact to the last digits however seldom it fires.
"""

from collections.abc import Iterator
from itertools import islice


def runs_to_fire_by_threshold(step: int, rate: float) -> Iterator[float]:
    """Yield the mean number of samples from zero until the sum reaches 1, 2, 3 and so on, without end.

    ``rate``, over 0 and up to 1, is the part of the samples that is bad, each independent of the others.
    """
    ups: list[float] = []
    counts: list[float] = []
    while True:
        # after a bad sample: what remains until it has fired, or has come down again to where it was
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
    downs: list[float] = []  # to come down by one, from the threshold downwards
    for _ in range(threshold):
        downs.append((1 + rate * sum(downs[-step:])) / (1 - rate))
    return sum(downs)
