"""Handles SIGTERM, SIGINT and SIGHUP.

Of the signals that stop, the first requests a shutdown with a deadline, and the second exits at once. SIGHUP means two
things: a service manager asks a daemon to reload, and a terminal that is closed ends its programs.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress

_SHUTDOWN_DEADLINE = 8.8  # seconds from the first signal to the end of the process: less than the documented 10 s
_THREADS_DEADLINE = 1.0  # seconds for threads to end after everything has stopped; those that are left hang


def exit_on_signal(*numbers: int, code: int) -> None:
    """Exit the process with ``code`` at once on any of the signals ``numbers``.

    This is for the time in which there is nothing to shut down. Imports take most of a second, and an exception during
    an import would print a traceback. The kernel does not deliver an unhandled signal to the first process of a
    container. Signals that the process has blocked are unblocked.
    """
    for number in numbers:
        signal.signal(number, lambda *_: os._exit(code))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


class StopRequest:
    """Whether the process was asked to stop, and until when it may take.

    ``event`` is set by the first SIGTERM or SIGINT. From then on the process has 8.8 s to end: after these it exits
    with code 1, even if the event loop is blocked. A second signal exits at once, with code 130. SIGHUP calls
    ``on_hangup``; without it, SIGHUP stops as SIGTERM does. ``before_exit`` is called before the process exits without
    the end of its interpreter, in a signal handler or another thread.
    """

    def __init__(
        self, on_hangup: Callable[[], None] | None = None, before_exit: Callable[[], None] = lambda: None
    ) -> None:
        import asyncio  # importing it takes longer than everything before the first signal handlers are set

        from streamcanary.cli.exit_deadline import ExitDeadline

        self.event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._deadline = ExitDeadline(before_exit)
        self._before_exit = before_exit
        self._has_signal = False
        for number in (signal.SIGTERM, signal.SIGINT):
            # Not a handler of the event loop: it would not be called while the loop is blocked.
            signal.signal(number, self._on_signal)
        if on_hangup is None:
            signal.signal(signal.SIGHUP, self._on_signal)
        else:
            self._loop.add_signal_handler(signal.SIGHUP, on_hangup)

    def stopped(self, code: int = 0) -> None:
        """Report that everything has stopped: the process exits with ``code``, and waits for no thread that hangs."""
        self._deadline.limit(_THREADS_DEADLINE, code)

    def _on_signal(self, *_: object) -> None:
        if self._has_signal:
            self._before_exit()
            os._exit(130)
        self._has_signal = True
        self._deadline.limit(_SHUTDOWN_DEADLINE, 1)
        with suppress(RuntimeError):  # the loop is closed: everything has stopped
            self._loop.call_soon_threadsafe(self.event.set)


def stop_on_signal(
    on_hangup: Callable[[], None] | None = None, before_exit: Callable[[], None] = lambda: None
) -> StopRequest:
    """Return a request to stop, which SIGTERM or SIGINT makes, and SIGHUP unless there is ``on_hangup``."""
    return StopRequest(on_hangup, before_exit)
