"""What SIGTERM and SIGINT do: the first asks to stop, the second does not wait."""

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio  # takes longer to import than all that comes before the signals are caught


def exit_on_signal(*numbers: int, code: int) -> None:
    """From now on one of the signals ``numbers`` ends the process with ``code``, whatever it is doing.

    For as long as there is nothing to put in order: importing takes most of a second, and an exception in the middle
    of it would end in a traceback. The first process of a container is not even sent what it does not catch.
    """
    for number in numbers:
        signal.signal(number, lambda *_: os._exit(code))


def stop_on_signal() -> "asyncio.Event":
    """Return an event that the first SIGTERM or SIGINT sets. A second one ends the process at once, with code 130."""
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
