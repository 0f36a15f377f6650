"""Runs the daemon until it is stopped.

Shutdown takes at most 10 s, whatever hangs: runs end or are cancelled, pending notifications are sent or stay in the
store, telemetry is exported or dropped.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

from streamcanary.app.callbacks import DaemonCallbacks
from streamcanary.app.components import Components
from streamcanary.model.clock import Clock, SystemClock
from streamcanary.reload.reloader import ReloadSource
from streamcanary.settings import Settings
from streamcanary.transport.name_lookups import NameLookups

_log = logging.getLogger(__name__)

_EXECUTOR_THREADS = 64
"""For reading files and other blocking calls; with the default of a few more than the CPUs, a few that hang would keep
all others waiting. Name lookups have threads of their own."""


async def run_daemon(
    settings: Settings,
    stop: asyncio.Event,
    *,
    clock: Clock | None = None,
    callbacks: DaemonCallbacks | None = None,
    source: ReloadSource | None = None,
) -> bool:
    """Run the daemon until ``stop`` is set; return whether all components have stopped in time.

    The settings can be reloaded from ``source``; without it they stay.

    Raises:
        StoreUnwritable, StoreLocked, StoreTooNew: if the store cannot be used.
        SecretUnreadable: if a secret file cannot be read.
        TlsFileError: if a certificate or key file cannot be used.
        InvalidProxyUrl: if an environment variable has an invalid proxy URL.
    """
    clock, callbacks = clock or SystemClock(), callbacks or DaemonCallbacks()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_EXECUTOR_THREADS, "streamcanary"))
    async with AsyncExitStack() as stack:
        stack.enter_context(NameLookups())
        components = Components(settings, stack, clock=clock, callbacks=callbacks, source=source)
        await components.start()
        components.report_start()
        await stop.wait()
        components.shutdown.begin()
        _log.info("daemon stopping")
    return not components.shutdown.has_hanging_component
