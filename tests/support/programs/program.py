"""A real program under test: started on free ports, waited for until ready, and ended by its process id."""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self, TypeVar

T = TypeVar("T")

_STARTS = 5
_END_WITHIN = 5.0


class Program:
    """A program that listens on loopback ports.

    A port that was free when it was chosen may be in use when the program binds it. The program then exits, and is
    started again on other ports. Subclasses implement :meth:`command` and :meth:`is_ready`.
    """

    ports_needed = 1
    ready_within = 20.0  # seconds
    environment: Mapping[str, str] = MappingProxyType({})  # further variables

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports: list[int] = []
        self._process: asyncio.subprocess.Process | None = None

    def command(self) -> list[str]:
        """Write the configuration of the program, and return its command line, for ``self.ports``."""
        raise NotImplementedError

    async def is_ready(self) -> bool:
        """Return whether the started program, and not another one on its port, is ready."""
        raise NotImplementedError

    @property
    def log(self) -> str:
        """The output of the program."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    async def __aenter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        for _ in range(_STARTS):
            self.ports = free_ports(self.ports_needed)
            if await self._start():
                return self
        raise RuntimeError(f"{type(self).__name__} did not start:\n{self.log[-2000:]}")

    async def __aexit__(self, *error: object) -> None:
        await self._end()

    async def kill(self) -> None:
        """Send SIGKILL, and wait for the end."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def start_again(self) -> None:
        """End the program with SIGTERM if it runs, and start it again on the same ports."""
        await self._end()
        assert await self._start(), f"{type(self).__name__} did not start again:\n{self.log[-2000:]}"

    def pause(self) -> None:
        """Stop the program with SIGSTOP: its ports accept connections, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue the program after :meth:`pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def _start(self) -> bool:
        """Start the program on its ports; return whether it became ready, and did not end."""
        with (self.folder / "log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command(), stdout=log, stderr=log, env={**os.environ, **self.environment}
            )
        try:
            return await self._wait_until_ready()
        except BaseException:
            await self._end()
            raise

    async def _wait_until_ready(self) -> bool:
        """Return ``False`` if the program has ended."""
        assert self._process is not None
        async with asyncio.timeout(self.ready_within):
            while not await self.is_ready():
                if self._process.returncode is not None:
                    return False
                await asyncio.sleep(0.02)
        return True

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGCONT)  # a paused program does not end
        process.terminate()
        try:
            async with asyncio.timeout(_END_WITHIN):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def free_ports(count: int) -> list[int]:
    """Return different loopback ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


async def poll_until(probe: Callable[[], Awaitable[T | None]], within: float, failure_message: Callable[[], str]) -> T:
    """Return the first result of ``probe`` that is not ``None``; fail after ``within`` seconds.

    Raises:
        AssertionError: with ``failure_message()``.
    """
    try:
        async with asyncio.timeout(within):
            while (found := await probe()) is None:  # the state is that of another process: there is no event
                await asyncio.sleep(0.02)
            return found
    except TimeoutError:
        raise AssertionError(failure_message()) from None
