"""Keeps the last lines of the log while the view has the screen, and writes them when it has not."""

import io
import threading
from collections import deque
from contextlib import suppress
from typing import Final, TextIO

MAX_LINES: Final = 200
"""Log lines in memory."""

_REPEATED = 20  # of them written when the view ends, so that the reason of an end can be read


class LogTail(io.TextIOBase):
    """A stream for log lines. They go to ``stream`` once :meth:`release` was called; before, the last ones are kept."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._is_released = False
        self._lock = threading.RLock()  # a signal handler may release while a line is written

    def write(self, text: str, /) -> int:
        """Write a line, or keep it."""
        with self._lock:
            if self._is_released:
                self._stream.write(text)
                self._stream.flush()
            else:
                self._lines.extend(line for line in text.splitlines() if line.strip())
        return len(text)

    def last_lines(self, count: int) -> list[str]:
        """Return the last ``count`` lines, the oldest first."""
        with self._lock:
            return list(self._lines)[-count:]

    def release(self) -> None:
        """Write the last lines that were kept, and all later ones at once."""
        with self._lock:
            if self._is_released:
                return
            self._is_released = True
            with suppress(OSError, ValueError):  # the terminal is gone
                self._stream.write("".join(f"{line}\n" for line in self.last_lines(_REPEATED)))
                self._stream.flush()
