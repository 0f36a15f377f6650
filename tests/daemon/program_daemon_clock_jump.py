"""The daemon with a clock that jumps sixteen minutes ahead at each SIGUSR1.

Its arguments are those of ``streamcanary``: ``run -c FILE``.
"""

import asyncio
import signal
import sys
from pathlib import Path

from streamcanary.app.daemon import run_daemon
from streamcanary.cli.load_config import load_config
from streamcanary.cli.signals import stop_on_signal
from streamcanary.model.config_types.config_secrets import ConfigSecrets
from streamcanary.settings import Settings
from streamcanary.telemetry import logs
from support.clock import OffsetClock

_LEAP = 16 * 60.0


async def live(settings: Settings) -> None:
    """Run the daemon until a signal ends it."""
    clock = OffsetClock()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, clock.advance, _LEAP)
    await run_daemon(settings, stop_on_signal().event, clock=clock)


if __name__ == "__main__":
    read = load_config(Path(sys.argv[-1]))
    logs.configure("info", json=True, secrets=ConfigSecrets(read))
    asyncio.run(live(read))
