"""The daemon with a neighbour in its event loop, busy from SIGUSR1 to SIGUSR2, and with short times of load shedding.

Its arguments are those of ``streamcanary``: ``run -c FILE``.
"""

import asyncio
import signal
import sys
import time
from pathlib import Path

from streamcanary.alerting.engine.evaluation import runs
from streamcanary.app.daemon import run_daemon
from streamcanary.canary.scheduling import load_shedding
from streamcanary.cli.load_config import load_config
from streamcanary.cli.signals import stop_on_signal
from streamcanary.model.config_types.config_secrets import ConfigSecrets
from streamcanary.settings import Settings
from streamcanary.telemetry import logs

_MAX_BUSY = 40.0  # seconds, if the test fails
_SLICE = 0.15  # seconds for which it blocks the event loop; then the loop turns once


class Neighbour:
    """Blocks the event loop, but for one turn between two slices."""

    def __init__(self) -> None:
        self._until = 0.0

    def start(self) -> None:
        """Begin to block the loop."""
        self._until = time.monotonic() + _MAX_BUSY
        self._block()

    def stop(self) -> None:
        """Block it no more."""
        self._until = 0.0

    def _block(self) -> None:
        end = time.monotonic() + _SLICE
        while time.monotonic() < end:
            pass
        if time.monotonic() < self._until:
            asyncio.get_running_loop().call_later(0.001, self._block)


async def live(settings: Settings) -> None:
    """Run the daemon until a signal ends it."""
    neighbour, loop = Neighbour(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, neighbour.start)
    loop.add_signal_handler(signal.SIGUSR2, neighbour.stop)
    await run_daemon(settings, stop_on_signal().event)


if __name__ == "__main__":
    load_shedding.WINDOW = 1.0  # type: ignore[misc]
    load_shedding.BEHIND_AFTER = 2.0  # type: ignore[misc]
    load_shedding._STEP_DOWN = 0.45
    runs._ON_SCHEDULE_AFTER = 2.0  # type: ignore[misc]
    read = load_config(Path(sys.argv[-1]))
    logs.configure("info", json=True, secrets=ConfigSecrets(read))
    asyncio.run(live(read))
