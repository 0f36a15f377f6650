"""Handles SIGTERM and SIGINT: the first signal requests a shutdown, the second exits at once."""

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio  # importing it takes longer than everything before the signal handlers are set


def exit_on_signal(*numbers: int, code: int) -> None:
    """Exit the process with ``code`` at once on any of the signals ``numbers``.

    This is for the time in which there is nothing to shut down. Imports take most of a second, and an exception during
    an import would print a traceback. The kernel does not deliver an unhandled signal to the first process of a
    container.
    """
    for number in numbers:
        signal.signal(number, lambda *_: os._exit(code))


def stop_on_signal() -> "asyncio.Event":
    """Return an event that the first SIGTERM or SIGINT sets. A second signal exits the process with code 130."""
    import asyncio

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop
