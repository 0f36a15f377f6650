"""Measure the CPU time of alternatives in alternating rounds, so that a busy machine slows all of them alike."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

TimedStream = Callable[[int, int], float]
"""Takes a number of chunks and of calls, streams an answer in each call, and returns the CPU seconds of one call."""

MESSAGES: list["ChatCompletionMessageParam"] = [{"role": "user", "content": "Count."}]


@contextmanager
def measured(calls: int) -> Iterator[list[float]]:
    """Measure the block; afterwards the list holds the CPU seconds of one of its ``calls``."""
    spent: list[float] = []
    gc.collect()
    began = time.process_time()
    yield spent
    spent.append((time.process_time() - began) / calls)


def alternate(
    timed_streams: Mapping[str, TimedStream], chunks: int, *, calls: int, rounds: int
) -> dict[str, list[float]]:
    """Return the CPU seconds per call by name, for each round; one more round before warms up."""
    spent: dict[str, list[float]] = {name: [] for name in timed_streams}
    for number in range(rounds + 1):
        for name, timed_stream in timed_streams.items():
            seconds = timed_stream(chunks, calls)
            if number:
                spent[name].append(seconds)
    return spent


def ratio(measured_seconds: list[float], base: list[float]) -> float:
    """Return the median over all rounds of the ratio between ``measured_seconds`` and ``base``."""
    return statistics.median(seconds / baseline for seconds, baseline in zip(measured_seconds, base, strict=True))
