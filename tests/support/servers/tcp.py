"""A TCP server with a handler from the test, an HTTP server with fixed responses, a CONNECT proxy, and a forwarder."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Self

ConnectionHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class TcpServer:
    """``async with``: listens on a free port of ``host``; runs ``talk`` for each connection until the block ends."""

    def __init__(self, talk: ConnectionHandler, *, ssl: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self._talk = talk
        self._ssl = ssl
        self._host = host
        self._tasks: set[asyncio.Task[Any]] = set()
        self.port = 0

    @property
    def base_url(self) -> str:
        """The base URL for a target."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._ssl else 'http'}://{host}:{self.port}/v1"

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._tasks)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, 0, ssl=self._ssl)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._talk(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the client has disconnected, or the test has ended
        finally:
            self._tasks.discard(task)
            writer.transport.abort() if writer.is_closing() else writer.close()


class FixedHttpServer(TcpServer):
    """Responds to ``GET`` by path with the result of :func:`http_response`, or 404. ``heads`` are the request heads."""

    def __init__(self, answers: dict[str, bytes], *, ssl: ssl.SSLContext | None = None) -> None:
        self.answers = answers
        self.heads: list[str] = []
        super().__init__(self._answer, ssl=ssl)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        path = head.split(" ")[1].partition("/v1/")[2]
        writer.write(self.answers.get(path) or http_response(404, {"error": {"message": "unknown path"}}))
        await writer.drain()


def http_response(status: int, body: Any = "", kind: str = "application/json", **headers: str) -> bytes:
    """Return an HTTP response; a ``body`` that is not text is encoded as JSON."""
    text = body if isinstance(body, str) else json.dumps(body)
    lines = [
        f"HTTP/1.1 {status} Whatever",
        f"content-type: {kind}",
        f"content-length: {len(text)}",
        "connection: close",
    ]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", text]).encode()


class ConnectProxy(TcpServer):
    """A proxy that connects every CONNECT to ``port`` on loopback, or responds with ``refusal``."""

    def __init__(self, port: int = 0, *, refusal: bytes = b"", ssl: ssl.SSLContext | None = None) -> None:
        self._target = port
        self._refusal = refusal
        self.heads: list[str] = []
        super().__init__(self._tunnel, ssl=ssl)

    @property
    def url(self) -> str:
        """The proxy URL."""
        return self.base_url.removesuffix("/v1")

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(self._refusal or b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        if self._refusal:
            return
        await _connect(reader, writer, self._target)


class TcpForwarder(TcpServer):
    """Connects each connection to ``port`` on loopback; after :meth:`cut`, resets all, as a broken network does."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._is_cut = False
        super().__init__(self._forward)

    def cut(self) -> None:
        """Reset open and new connections from now on."""
        self._is_cut = True
        for task in self._tasks:
            task.cancel()

    def repair(self) -> None:
        """Forward new connections from now on."""
        self._is_cut = False

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        await _connect(reader, writer, self._target)


async def _connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Copy both directions between a connection and a new one to ``port``, until one side disconnects."""
    inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_copy_stream(reader, inner_writer))
            tasks.create_task(_copy_stream(inner_reader, writer))
    except* OSError:
        pass  # one side has disconnected
    finally:
        inner_writer.transport.abort()


async def _copy_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.transport.abort()
