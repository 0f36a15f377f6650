"""Synthetic histories: samples of a Markov chain, and times of answers."""

import math
from collections.abc import Iterator
from random import Random

DAY = 86400.0


def bursty_samples(rate: float, autocorrelation: float, count: int, seed: int = 0) -> list[bool]:
    """Return ``count`` samples, bad at ``rate`` in the long run, with an ``autocorrelation`` of neighbours."""
    random = Random(seed)  # noqa: S311 - a simulation
    bad, samples = random.random() < rate, []
    for _ in range(count):
        samples.append(bad)
        bad = random.random() < (rate + autocorrelation * (1 - rate) if bad else rate * (1 - autocorrelation))
    return samples


def answer_times(
    days: float, *, every: float = 60.0, spread: float = 0.3, busy: float = 1.0, seed: int = 0
) -> Iterator[tuple[float, float]]:
    """Yield times (seconds since the epoch) and values with a median of 0.5 s, ``busy`` times that after noon (UTC)."""
    random = Random(seed)  # noqa: S311 - a simulation
    for number in range(int(days * DAY / every) + 1):
        at = number * every
        yield at, 0.5 * math.exp(spread * random.gauss(0, 1)) * (busy if at % DAY >= DAY / 2 else 1.0)
