"""The screen of a terminal while a view has it."""

import asyncio
import os
import signal
import sys
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from streamcanary.cli.live.log_tail import LogTail

if TYPE_CHECKING:
    from rich.live import Live

    from streamcanary.cli.live.view import LiveView

_LEAVE_SCREEN = b"\x1b[?1049l\x1b[?25h\x1b[0m"  # the main screen, the cursor, no colour
_TAKE_SCREEN = b"\x1b[?1049h\x1b[?25l"
_LOG_LINES = 10
_DRAW_TIMEOUT = 1.0  # seconds


def can_show_view() -> bool:
    """Return whether stderr is a terminal that a view may have.

    Not that of a background job, nor of the first process of a container, whose terminal is a log more often than not.
    """
    return _is_in_foreground() and os.getpid() != 1 and os.environ.get("TERM", "dumb") != "dumb"


def _is_in_foreground() -> bool:
    try:
        return os.tcgetpgrp(sys.stderr.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):  # no terminal, or no stderr at all
        return False


class LiveScreen:
    """Shows views on the terminal of stderr. A context manager: the terminal is restored when it is left.

    ``logs`` is the stream for log lines, of which a view shows the last. :meth:`close` may be called at any time, also
    by a signal handler. ``on_quit`` is called when q is typed. Ctrl-Z gives the terminal back to the shell, and ``fg``
    takes it again; in the background nothing is drawn.
    """

    def __init__(self, on_quit: Callable[[], None] | None = None) -> None:
        self._on_quit = on_quit
        self.logs = LogTail(sys.stderr)
        self._live: Live | None = None
        self._terminal_mode: list[Any] | None = None
        self._view_mode: list[Any] | None = None
        self._is_suspended = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Take the screen."""
        from rich.console import Console
        from rich.live import Live

        self._disable_echo()
        # Not redirected: log lines have their own stream, and what a user prints must not get lost.
        self._live = Live(
            console=Console(stderr=True),
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()
        if signal.getsignal(signal.SIGTSTP) == signal.SIG_DFL:  # a shell without job control ignores it
            signal.signal(signal.SIGTSTP, self._on_suspend)

    def show(self, view: "LiveView") -> None:
        """Draw ``view`` in the present size of the terminal. May be called in another thread."""
        from streamcanary.cli.live.view import render

        with self._lock:
            if (live := self._live) is None:
                return
            if self._is_suspended and not self._resume():
                return
            live.update(render(view, *live.console.size), refresh=True)

    def last_log_lines(self) -> list[str]:
        """Return the log lines that a view may show."""
        return self.logs.last_lines(_LOG_LINES)

    def close(self) -> None:
        """Restore the terminal, and write the last log lines to it."""
        live, self._live = self._live, None
        if live is not None:
            has_ended = self._lock.acquire(
                timeout=_DRAW_TIMEOUT
            )  # what another thread draws; a stopped terminal blocks it
            with suppress(OSError, ValueError):  # the terminal is gone
                if has_ended and not self._is_suspended:
                    live.stop()
                self._leave()
            if has_ended:
                self._lock.release()
        self.logs.release()

    def _on_suspend(self, *_: object) -> None:
        """Give the terminal back, and stop as the terminal has asked for."""
        if self._live is not None:
            has_ended = self._lock.acquire(timeout=_DRAW_TIMEOUT)
            with suppress(OSError, ValueError):
                self._leave()
            self._is_suspended = True
            if has_ended:
                self._lock.release()
        os.kill(os.getpid(), signal.SIGSTOP)

    def _leave(self) -> None:
        if not self._is_suspended:
            os.write(sys.stderr.fileno(), _LEAVE_SCREEN)
            self._set_mode(self._terminal_mode)

    def _resume(self) -> bool:
        """Take the screen again if the process has the terminal; return whether it has."""
        if not _is_in_foreground():
            return False
        self._set_mode(self._view_mode)
        os.write(sys.stderr.fileno(), _TAKE_SCREEN)
        self._is_suspended = False
        return True

    def _disable_echo(self) -> None:
        """Let the terminal not print what is typed: it would be in the middle of the view."""
        with suppress(OSError, ValueError, AttributeError, termios.error):
            number = sys.stdin.fileno()
            self._terminal_mode = termios.tcgetattr(number)
            mode = termios.tcgetattr(number)
            mode[3] &= ~termios.ECHO
            if self._on_quit is not None:  # keys come at once, not with the next line
                mode[3] &= ~termios.ICANON
                asyncio.get_running_loop().add_reader(number, self._on_input, self._on_quit)
            self._view_mode = mode
            self._set_mode(mode)

    @staticmethod
    def _on_input(on_quit: Callable[[], None]) -> None:
        typed = os.read(sys.stdin.fileno(), 1024)
        if b"q" in typed or not typed:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            on_quit()

    @staticmethod
    def _set_mode(mode: list[Any] | None) -> None:
        # In the background it would stop the process.
        if mode is not None and _is_in_foreground():
            with suppress(OSError, ValueError, AttributeError, termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, mode)
