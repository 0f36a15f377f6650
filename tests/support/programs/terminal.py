"""A program on a pseudo-terminal, and what its screen shows."""

import asyncio
import shlex
import sys
import time
import warnings
from pathlib import Path
from typing import Self

import pexpect
import pyte

_STEP = 0.1  # seconds of waiting for output before the screen is looked at again


class Terminal:
    """``async with Terminal("probe", …) as terminal``: runs a verb on a terminal, and ends it with the block.

    ``in_shell`` types it into a shell with job control, which :meth:`finish` does not leave.
    ``screen`` has the lines that a person sees, without trailing spaces. ``output`` is everything that was written.
    """

    def __init__(
        self, *arguments: str | Path, rows: int = 24, columns: int = 80, in_shell: bool = False, **environ: str
    ) -> None:
        self._in_shell = in_shell
        self._arguments = ["-m", "streamcanary", *map(str, arguments)]
        self._dimensions = (rows, columns)
        self._environ = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", **environ}
        self._emulator = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self._emulator)
        self.output = ""

    async def __aenter__(self) -> Self:
        with warnings.catch_warnings():  # of the fork in a process with threads: the child only executes a program
            warnings.simplefilter("ignore", DeprecationWarning)
            self._child: pexpect.spawn[str] = pexpect.spawn(
                *(("bash", ["--norc", "--noprofile"]) if self._in_shell else (sys.executable, self._arguments)),
                env=self._environ,
                encoding="utf-8",
                dimensions=self._dimensions,
            )
        if self._in_shell:
            self.send(shlex.join([sys.executable, *self._arguments]) + "\n")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.to_thread(self._child.close, force=True)

    @property
    def screen(self) -> list[str]:
        """The lines of the screen."""
        return [line.rstrip() for line in self._emulator.display]

    @property
    def has_main_screen(self) -> bool:
        """Whether the terminal shows the screen with the history, not that of a program."""
        return self.output.rfind("\x1b[?1049h") <= self.output.rfind("\x1b[?1049l")

    @property
    def shows_cursor(self) -> bool:
        """Whether the cursor is visible."""
        return not self._emulator.cursor.hidden

    async def wait_for(self, text: str, within: float = 40.0) -> None:
        """Wait until the screen shows ``text``, with single spaces."""
        deadline = time.monotonic() + within
        while text not in " ".join(" ".join(self._emulator.display).split()):
            assert time.monotonic() < deadline, f"{text!r} is not on the screen:\n" + "\n".join(self.screen)
            assert await self._read(), f"ended without {text!r}:\n" + self.output

    async def finish(self, within: float = 60.0) -> int:
        """Wait until the program ends, and return its exit code."""
        deadline = time.monotonic() + within
        while await self._read():
            assert time.monotonic() < deadline, "still running:\n" + "\n".join(self.screen)
        await asyncio.to_thread(self._child.close)
        assert self._child.exitstatus is not None, f"ended by signal {self._child.signalstatus}"
        return int(self._child.exitstatus)

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal another size, of which the program is told by a signal."""
        self._emulator.resize(rows, columns)
        self._emulator.erase_in_display(2)
        self._child.setwinsize(rows, columns)

    def send(self, text: str) -> None:
        """Type ``text``, which may be the control character of a key."""
        self._child.send(text)

    async def _read(self) -> bool:
        """Read what was written; return whether the program still runs."""
        try:
            text = await asyncio.to_thread(self._child.read_nonblocking, 65536, _STEP)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.output += text
        self._stream.feed(text)
        return True
