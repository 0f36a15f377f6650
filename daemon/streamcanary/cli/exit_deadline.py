"""Ends the process at a deadline, whatever hangs: a blocked event loop, a thread in a name lookup, a server."""

import logging
import os
import select
import threading
import time
from collections.abc import Callable
from typing import Final

_log = logging.getLogger(__name__)

_LOG_TIMEOUT: Final = 0.3  # seconds; the log may hang as well


class ExitDeadline:
    """A thread that ends the process with ``os._exit`` at the deadline, once there is one.

    An interpreter waits for its threads before it exits, without a limit. What has to be durable is durable earlier:
    the store commits before anything else is done with a result. ``before_exit`` is called at the deadline.
    """

    def __init__(self, before_exit: Callable[[], None] = lambda: None) -> None:
        self._before_exit = before_exit
        self._deadline: float | None = None  # monotonic seconds
        self._code = 1
        # A signal handler may write to a pipe; the locks of the module threading could be held by the interrupted code.
        self._reader, self._writer = os.pipe()
        threading.Thread(target=self._watch, name="streamcanary exit deadline", daemon=True).start()

    def limit(self, seconds: float, code: int) -> None:
        """End the process in ``seconds`` at the latest, with the exit code ``code``. May be called in a signal handler.

        An earlier deadline stays.
        """
        deadline = time.monotonic() + seconds
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)
        self._code = code
        os.write(self._writer, b"\0")

    def _watch(self) -> None:
        while True:
            deadline = self._deadline
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            if select.select([self._reader], [], [], remaining)[0]:
                os.read(self._reader, 4096)
            else:
                self._exit()

    def _exit(self) -> None:
        self._before_exit()
        names = sorted(thread.name for thread in threading.enumerate() if not thread.daemon)
        report = threading.Thread(
            target=_log.warning,
            args=("shutdown deadline exceeded",),
            kwargs={"extra": {"threads": names[:20], "thread_count": len(names)}},
            daemon=True,
        )
        report.start()
        report.join(_LOG_TIMEOUT)
        os._exit(self._code)
