"""A TCP proxy that a test makes fail like a network: cut, reset, slow, and healed."""

import asyncio
import socket
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self, TypeVar

T = TypeVar("T")

_SLICE = 65536


class TcpProxy:
    """``with TcpProxy(port) as proxy``: forwards connections to ``port`` on loopback, until the block ends.

    It has an event loop and a thread of its own, so that it works while the test blocks its loop. Each method has taken
    effect when it returns.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-proxy", daemon=True)
        self._pairs: dict[asyncio.Task[Any], tuple[asyncio.StreamWriter, ...]] = {}
        self._delay = 0.0
        self._refuses = False
        self.port = 0
        self.accepted = 0
        """The number of connections since the start."""

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._pairs)

    def cut(self) -> None:
        """Forward nothing from now on, and close nothing: both sides wait, also those of new connections."""
        self._call(self._set(forwards=False))

    def reset(self) -> None:
        """Reset all connections; new ones are forwarded as before."""
        self._call(self._reset())

    def refuse(self) -> None:
        """Reset all connections, and each new one at once."""
        self._call(self._reset(refuses=True))

    def delay(self, seconds: float) -> None:
        """Forward what arrives from now on after ``seconds``, in each direction."""
        self._call(self._set(delay=seconds))

    def heal(self) -> None:
        """Forward everything at once again; what has been sent during a cut arrives now."""
        self._call(self._set(forwards=True, delay=0.0))

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *error: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _listen(self) -> None:
        self._forwards = asyncio.Event()
        self._forwards.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        await self._end_all()

    async def _set(self, *, forwards: bool | None = None, delay: float | None = None) -> None:
        if forwards is not None:
            self._forwards.set() if forwards else self._forwards.clear()
        if forwards:
            self._refuses = False
        if delay is not None:
            self._delay = delay

    async def _reset(self, *, refuses: bool = False) -> None:
        self._refuses = refuses
        for writers in self._pairs.values():
            for writer in writers:
                _reset_on_close(writer)
        await self._end_all()

    async def _end_all(self) -> None:
        tasks = list(self._pairs)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.accepted += 1
        self._pairs[task] = (writer,)
        try:
            if self._refuses:
                _reset_on_close(writer)
                return
            await self._forward(task, reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the target does not listen, a side has reset its connection, or the test has reset all
        finally:
            for side in self._pairs.pop(task):
                side.transport.abort()

    async def _forward(
        self, task: asyncio.Task[Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await self._forwards.wait()
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._pairs[task] = (writer, inner_writer)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._copy(reader, inner_writer))
            tasks.create_task(self._copy(inner_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_SLICE):
            if self._delay:
                await asyncio.sleep(self._delay)
            await self._forwards.wait()
            writer.write(data)
            await writer.drain()
        with suppress(OSError):
            await self._forwards.wait()
            writer.write_eof()


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
