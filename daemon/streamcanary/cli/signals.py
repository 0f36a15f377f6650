"""What SIGTERM and SIGINT do: the first asks to stop, the second does not wait."""

import asyncio
import os
import signal


def stop_on_signal() -> asyncio.Event:
    """Return an event that the first SIGTERM or SIGINT sets. A second one ends the process at once, with code 130."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop
