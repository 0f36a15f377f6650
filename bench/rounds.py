"""CPU time of several ways to do one thing, in alternating rounds: a machine that is busy slows all of them alike."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

Way = Callable[[int, int], float]
"""Streams an answer of so many chunks, so many times, and returns the CPU seconds of one time."""

MESSAGES: list["ChatCompletionMessageParam"] = [{"role": "user", "content": "Count."}]


@contextmanager
def measured(calls: int) -> Iterator[list[float]]:
    """Measure the block; afterwards the list holds the CPU seconds of one of its ``calls``."""
    spent: list[float] = []
    gc.collect()
    began = time.process_time()
    yield spent
    spent.append((time.process_time() - began) / calls)


def alternate(ways: Mapping[str, Way], chunks: int, *, calls: int, rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of a call, for each way and round; a round before the first warms up."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            seconds = way(chunks, calls)
            if number:
                spent[name].append(seconds)
    return spent


def ratio(own: list[float], base: list[float]) -> float:
    """Return the median of the ratios, round by round."""
    return statistics.median(mine / other for mine, other in zip(own, base, strict=True))
