"""Keeps pauses for garbage collection short: what lives as long as the daemon is exempt from it.

A full collection visits every object that is not exempt, and blocks the event loop meanwhile. With 10,000 canaries it
takes over a second. While each of them runs for the first time, their metrics and statuses make it necessary every
other second.
"""

import asyncio
import ctypes
import gc
from contextlib import suppress
from typing import Final

_FIRST_DELAY: Final = 5.0  # seconds
_MAX_DELAY: Final = 86_400.0  # seconds; later, nothing much is added that stays
_MIN_THRESHOLD: Final = 5_000  # new objects between two collections of the young ones: those of about thirty runs
_MAX_THRESHOLD: Final = 20_000


def exempt_existing() -> None:
    """Exempt everything that exists from garbage collection, after a full one, and give free memory back."""
    gc.collect()
    gc.freeze()
    with suppress(OSError, AttributeError):  # another C library than glibc has no malloc_trim()
        ctypes.CDLL(None).malloc_trim(0)


def exempt_repeatedly(canaries: int) -> None:
    """Exempt what exists now, and after 5 s, 10 s, 20 s and so on what was added, up to a day after the start.

    What is not exempt yet is collected before: with 10,000 canaries some 50,000 objects, among them a closed connection
    for each third run, which would never be collected otherwise. What is used at the time, and becomes garbage in a
    cycle of references later, is never collected; there is little of it at some 15 times. ``canaries`` is their number:
    with many, collections of the young objects are rarer still.
    """
    gc.set_threshold(max(_MIN_THRESHOLD, min(canaries, _MAX_THRESHOLD)), *gc.get_threshold()[1:])
    exempt_existing()
    _exempt_after(_FIRST_DELAY)


def _exempt_after(delay: float) -> None:
    def exempt() -> None:
        exempt_existing()
        if delay < _MAX_DELAY:
            _exempt_after(2 * delay)

    asyncio.get_running_loop().call_later(delay, exempt)


def collect_former_configuration() -> None:
    """Collect what a reload has replaced, which was exempt. It visits every object, some tenths of a second."""
    gc.unfreeze()
    exempt_existing()
