"""Progress lines on stderr for steps that take longer than ten seconds. Each is a complete line, also on a terminal."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

FIRST = 10.0  # seconds until a running step is reported for the first time
INTERVAL = 20.0  # seconds between two reports after that


def write(text: str) -> None:
    """Write one line to stderr at once."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextmanager
def step(name: str, *, first: float = FIRST, interval: float = INTERVAL) -> Iterator[None]:
    """Report the block as ``name … 10 s`` while it runs, and its duration when it ends.

    A block that takes less than ``first`` seconds is not reported.
    """
    start = time.monotonic()
    ended = threading.Event()

    def report() -> None:
        delay = first
        while not ended.wait(delay):
            write(f"{name} … {time.monotonic() - start:.0f} s")
            delay = interval

    reporter = threading.Thread(target=report, name="progress", daemon=True)
    reporter.start()
    result = "failed"
    try:
        yield
        result = "done"
    finally:
        ended.set()
        reporter.join()
        if (elapsed := time.monotonic() - start) >= first:
            write(f"{name}: {result} after {elapsed:.0f} s")
