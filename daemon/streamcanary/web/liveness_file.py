"""The liveness file: its time is renewed while the daemon is alive, for probes that cannot use the web server.

A kubelet cannot reach a web server on loopback, and a port that another process uses must not restart a container. So
the probe of a sidecar runs :mod:`streamcanary.liveness`, which compares the time of this file with now.
"""

import asyncio
import contextlib
import logging
import os
from pathlib import Path
from typing import Final, Self

_log = logging.getLogger(__name__)

RENEWAL_INTERVAL: Final = 5.0
"""Seconds between two renewals of the file."""


class LivenessFile:
    """Creates ``path``, and sets its time of change every ``interval`` seconds, while the context is entered.

    It is renewed as long as the event loop runs, like ``/livez`` answers, and removed at the end. If it cannot be
    written, that is logged once, and tried again at the next interval: canaries run without it. Without a ``path``
    nothing happens.
    """

    def __init__(self, path: Path | None, interval: float = RENEWAL_INTERVAL) -> None:
        self._path = path
        self._interval = interval
        self._is_failing = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._path is not None:
            self._task = asyncio.create_task(self._renew(self._path), name="liveness file")
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._task is None or self._path is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._path.unlink, missing_ok=True)

    async def _renew(self, path: Path) -> None:
        while True:
            try:
                # In a thread: a file system that hangs must not stop the canaries. The probe then finds an old file.
                await asyncio.to_thread(_touch, path)
            except OSError as error:
                if not self._is_failing:
                    _log.error(
                        "liveness file not written",
                        extra={
                            "path": str(path),
                            "error": error.strerror or type(error).__name__,
                            "hint": "a liveness probe on it fails; name a file in a writable folder",
                        },
                    )
                self._is_failing = True
            else:
                if self._is_failing:
                    _log.info("liveness file written again", extra={"path": str(path)})
                self._is_failing = False
            await asyncio.sleep(self._interval)


def _touch(path: Path) -> None:
    """Create ``path`` if it does not exist, and set its time to now. Blocks.

    Raises:
        OSError: if that fails; a file that is not a regular one, such as a pipe, is not waited for.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    try:
        os.utime(descriptor)
    finally:
        os.close(descriptor)
