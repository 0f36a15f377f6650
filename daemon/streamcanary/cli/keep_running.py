"""Keeps the process of a daemon that cannot start, for ``run --keep-running``: it tries again, instead of exiting.

A container that has ended makes its pod unready, also if the container is a sidecar without a readiness probe: the
application would get no requests because of a mistake in the configuration of its canary. See
``GenerateContainersReadyCondition`` in https://pkg.go.dev/k8s.io/kubernetes/pkg/kubelet/status.
"""

import asyncio
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NoReturn

from streamcanary.cli.signals import exit_on_signal

LIVENESS_FILE_VARIABLE: Final = "STREAMCANARY_WEB__LIVENESS_FILE"
"""Overrides ``web.liveness_file``. Of an invalid configuration, it is the only place that names the file."""

_POLL_INTERVAL: Final = 1.0  # seconds


def start_again(file: Path, liveness_file: Path | None = None) -> NoReturn:
    """Wait until the configuration ``file`` has another content, or 30 s, and run the same command line again.

    The second is for files that the configuration names, such as secrets, and for the store. The program replaces
    itself in the same process, so that nothing is left of the start that failed. Meanwhile a liveness probe on
    ``liveness_file`` succeeds, and SIGTERM and SIGINT exit with code 0.
    """
    exit_on_signal(signal.SIGTERM, signal.SIGINT, code=0)  # the failed start may have left handlers of its own
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    print(f"streamcanary run: not running; trying again when {file} changes, or in 30 s", file=sys.stderr, flush=True)
    if liveness_file is None and (path := os.environ.get(LIVENESS_FILE_VARIABLE)):
        liveness_file = file.absolute().parent / path
    asyncio.run(_wait(file, liveness_file))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - the same program


async def _wait(file: Path, liveness_file: Path | None) -> None:
    """Wait; then block the signals that stop the process.

    One that comes until the program has handlers again stays pending. As the first process of a container, it would
    lose it otherwise; ``exit_on_signal`` of the program unblocks them. No other thread may accept one: those that read
    files, and the one with which the event loop ends these, may exist a moment after they were joined.
    """
    from streamcanary.reload.config_file import RETRY_INTERVAL, read_fingerprint
    from streamcanary.web.liveness_file import LivenessFile

    executor = ThreadPoolExecutor(thread_name_prefix="reading", initializer=_block_stop_signals)
    asyncio.get_running_loop().set_default_executor(executor)
    deadline = time.monotonic() + RETRY_INTERVAL
    async with LivenessFile(liveness_file):
        before = await asyncio.to_thread(read_fingerprint, file)
        while time.monotonic() < deadline:
            await asyncio.sleep(_POLL_INTERVAL)
            if await asyncio.to_thread(read_fingerprint, file) != before:
                break
    _block_stop_signals()


def _block_stop_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
