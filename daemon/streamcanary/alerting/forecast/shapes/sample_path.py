"""The runs of several canaries in time order, for simulations: when each ends, and a random number for its result."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

from streamcanary.model.canary import Canary

_CHUNK = 600.0  # seconds that are drawn at once


class PathSample(NamedTuple):
    """One run ``at`` seconds after the begin of a path, of the canary with this ``number``.

    It is bad if ``draw``, which is uniform from 0 to 1, is below the error rate.
    """

    at: float
    number: int
    draw: float


class SamplePath:
    """The samples of ``canaries`` from ``start`` (seconds since the epoch) on, drawn from ``random`` when needed.

    Iterating again yields the same samples, so that rules and shapes are compared on the same runs. The phases of
    canaries with an interval are random.
    """

    def __init__(self, canaries: Sequence[Canary], start: float, random: Random) -> None:
        self.start = start
        self._canaries = canaries
        self._random = random
        self._next = [random.random() * canary.interval for canary in canaries]
        self._next = [
            at if canary.cron is None else canary.nth_run_after(start, 1) - start
            for canary, at in zip(canaries, self._next, strict=True)
        ]
        self._chunks: list[list[PathSample]] = []

    def until(self, seconds: float) -> Iterator[PathSample]:
        """Yield the samples of the first ``seconds``."""
        number = 0
        while number * _CHUNK < seconds:
            if number == len(self._chunks):
                self._chunks.append(self._draw((number + 1) * _CHUNK))
            for sample in self._chunks[number]:
                if sample.at >= seconds:
                    return
                yield sample
            number += 1

    def _draw(self, until: float) -> list[PathSample]:
        found, random = [], self._random.random
        for number, canary in enumerate(self._canaries):
            at = self._next[number]
            while at < until:
                found.append(PathSample(at, number, random()))
                at = (
                    at + canary.interval
                    if canary.cron is None
                    else canary.nth_run_after(self.start + at, 1) - self.start
                )
            self._next[number] = at
        found.sort()
        return found
