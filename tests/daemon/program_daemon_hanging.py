"""The command line, in a process that hangs. Writes ``hangs`` to stderr when it begins to.

``HANGING`` says what hangs: ``threads`` (all threads for name lookups), ``loop`` (the event loop), or ``component`` (a
part that does not stop).
"""

import asyncio
import os
import sys
import time
from typing import Any

from streamcanary.app import daemon
from streamcanary.canary.preflight.diagnostics import FailureDiagnostics
from streamcanary.cli.main import main

_SECONDS = 60
_run_daemon = daemon.run_daemon


async def _hang_for_ever(*_: Any) -> None:
    await asyncio.sleep(_SECONDS)


def _block_threads() -> None:
    for _ in range(100):
        asyncio.get_running_loop().run_in_executor(None, time.sleep, _SECONDS)


def _block_loop() -> None:
    time.sleep(_SECONDS)


async def run_daemon_and_hang(*arguments: Any, **options: Any) -> bool:
    """Run the daemon; a second later something hangs."""

    def hang() -> None:
        sys.stderr.write("hangs\n")
        {"threads": _block_threads, "loop": _block_loop, "component": lambda: None}[os.environ["HANGING"]]()

    if os.environ["HANGING"] == "component":
        setattr(FailureDiagnostics, "__aexit__", _hang_for_ever)  # noqa: B010
    asyncio.get_running_loop().call_later(1.0, hang)
    return await _run_daemon(*arguments, **options)


setattr(daemon, "run_daemon", run_daemon_and_hang)  # noqa: B010
sys.exit(main())
