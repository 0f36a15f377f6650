"""The server of the simulator: its listening socket and its connections."""

import asyncio
import errno
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from ssl import SSLContext
from typing import Any, Final, Self, get_args

from streamcanary.model.clock import Clock, SystemClock
from streamcanary.simulator.api.error_bodies import invalid_request_body
from streamcanary.simulator.http.connection import Connection, ConnectionLifetime
from streamcanary.simulator.http.http1 import BadRequest, PeerDisconnected, RequestHead, RequestReader
from streamcanary.simulator.http.response_writer import ResponseWriter
from streamcanary.simulator.recorded_response import RecordedResponse
from streamcanary.simulator.request_handler import RequestHandler
from streamcanary.simulator.request_log import RecordedRequest
from streamcanary.simulator.timeline import Phase, Timeline
from streamcanary.simulator.timings import Timings

MAX_CONNECTIONS: Final = 1000
"""Connections open at once; further ones are reset (RST)."""
_DISCARD_TIMEOUT = 1.0  # seconds for which the rest of a rejected request is read
_HANG_GRACE = 60.0  # seconds beyond a hang after which a response that the client does not read is aborted


class ListenError(Exception):
    """The simulator cannot listen on the address; the message says why, and what to do."""


class Simulator:
    """An OpenAI-compatible provider that plays faults on demand; the model name selects the fault.

    ``async with Simulator() as simulator:`` listens until the block ends, by default on a free port of loopback. With
    an ``api_key``, requests with another key get a 401. ``connection`` is the lifetime of a connection: ``keep-alive``,
    ``close`` or ``eof`` (:data:`ConnectionLifetime`). With ``ssl``, it serves TLS; with ``close_notify=False``, it ends
    TLS connections without a close_notify alert. ``on_request`` is called with each request when it is answered, and
    must not block.

    Raises:
        ValueError: if ``connection`` is none of the three, or ``close_notify`` is off without TLS.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        timings: Timings | None = None,
        timeline: Timeline | None = None,
        clock: Clock | None = None,
        api_key: str | None = None,
        connection: ConnectionLifetime = "keep-alive",
        ssl: SSLContext | None = None,
        close_notify: bool = True,
        on_request: Callable[[RecordedRequest], None] | None = None,
    ) -> None:
        if connection not in get_args(ConnectionLifetime):
            raise ValueError(f"a connection is one of {', '.join(get_args(ConnectionLifetime))}, not {connection!r}")
        if ssl is None and not close_notify:
            raise ValueError("close_notify applies to TLS only: leave it on, or pass ssl")
        self._host = host
        self._port = port
        self._timings = timings or Timings()
        self._clock = clock or SystemClock()
        self._lifetime = connection
        self._ssl = ssl
        self._close_notify = close_notify
        self._handler = RequestHandler(self._clock, timeline=timeline, api_key=api_key, on_request=on_request)
        self._server: asyncio.Server | None = None
        self._address: tuple[str, int] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, and start the timeline.

        Raises:
            ListenError: if the port is in use, or the address is not one of this machine.
            RuntimeError: if it is started already.
        """
        if self._server is not None:
            raise RuntimeError("the simulator has been started already")
        tls: dict[str, Any] = {}
        if self._ssl is not None:
            tls = {"ssl": self._ssl, "ssl_handshake_timeout": 5.0, "ssl_shutdown_timeout": _DISCARD_TIMEOUT}
        try:
            self._server = await asyncio.start_server(self._accept_connection, self._host, self._port, **tls)
        except (OSError, OverflowError) as error:  # OverflowError: a port above 65535
            raise ListenError(_listen_error_message(error, self._host, self._port)) from None
        self._address = self._server.sockets[0].getsockname()[:2]
        self._handler.restart_timeline()

    async def close(self) -> None:
        """Stop listening and end all connections at once, including hanging ones. A second call does nothing."""
        server, self._server = self._server, None
        if server is None:
            return
        try:
            await _drain_backlog(server)
        finally:  # also when this call is cancelled
            server.close()
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await server.wait_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def port(self) -> int:
        """The port on which it listens, or listened before it was closed.

        Raises:
            RuntimeError: if it has never been started.
        """
        return self._bound_address()[1]

    @property
    def base_url(self) -> str:
        """The base URL for a client, such as ``http://127.0.0.1:8080/v1``.

        Raises:
            RuntimeError: if it has never been started.
        """
        host, port = self._bound_address()
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - mapped to an address that a client can use
        return f"{'https' if self._ssl else 'http'}://{f'[{host}]' if ':' in host else host}:{port}/v1"

    @property
    def azure_endpoint(self) -> str:
        """The same as endpoint of a resource of Azure: its deployments have the names of the models.

        Raises:
            RuntimeError: if it has never been started.
        """
        return self.base_url.removesuffix("/v1")

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The last 1,000 requests, oldest first."""
        return tuple(self._handler.requests)

    @property
    def responses(self) -> tuple[RecordedResponse, ...]:
        """The responses to :attr:`requests`, in the same order."""
        return tuple(self._handler.responses)

    @property
    def connection_count(self) -> int:
        """The number of open connections."""
        return len(self._tasks)

    @property
    def current_phase(self) -> Phase | None:
        """The current phase of the timeline; ``None`` without a timeline."""
        return self._handler.current_phase

    def restart_timeline(self) -> None:
        """Restart the timeline now; counted and random faults (``@N``, ``%P``) restart with it."""
        self._handler.restart_timeline()

    def _bound_address(self) -> tuple[str, int]:
        if self._address is None:
            raise RuntimeError("the simulator has no address before it is started")
        return self._address

    def _accept_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None or len(self._tasks) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        connection = Connection(writer, close_notify=self._close_notify)
        task = asyncio.get_running_loop().create_task(self._serve_connection(RequestReader(reader), connection))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._on_connection_done(task, connection))

    def _on_connection_done(self, task: asyncio.Task[None], connection: Connection) -> None:
        self._tasks.discard(task)
        connection.abort()  # closed already, unless the task was cancelled before it started
        if not task.cancelled() and (error := task.exception()) is not None:  # a bug of the simulator
            task.get_loop().call_exception_handler({"message": "simulator request failed", "exception": error})

    async def _serve_connection(self, requests: RequestReader, connection: Connection) -> None:
        """Answer the requests of one connection until either side closes it."""
        try:
            while await self._handle_request(requests, connection):
                pass
        except asyncio.CancelledError:
            connection.abort()
            raise
        except (PeerDisconnected, OSError):
            pass  # the client is disconnected, unreachable, or idle for too long (TimeoutError)
        finally:
            await connection.close_and_wait()

    async def _handle_request(self, requests: RequestReader, connection: Connection) -> bool:
        """Answer one request, and return whether the connection may serve another."""
        async with asyncio.timeout(self._timings.idle_timeout):
            await requests.wait_for_request()
        writer = ResponseWriter(
            connection,
            self._timings,
            f"req_{secrets.token_hex(16)}",
            self._clock.time(),
            is_delimited=self._lifetime != "eof",
        )
        try:
            async with asyncio.timeout(self._timings.request_timeout):
                head = await requests.read_head()
                if head.expects_continue and head.body_length() != 0:
                    await writer.send_bytes(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = await requests.read_body(head)
        except BadRequest as bad:
            await self._reject_request(requests, connection, writer, bad.status, str(bad))
            return False
        except TimeoutError:
            message = f"the request was not complete within {self._timings.request_timeout:g} s"
            await self._reject_request(requests, connection, writer, 408, message)
            return False
        writer.is_reusable = head.is_keep_alive and self._lifetime == "keep-alive"
        await self._respond(requests, head, body, writer)
        return writer.is_reusable

    async def _respond(self, requests: RequestReader, head: RequestHead, body: bytes, writer: ResponseWriter) -> None:
        """Answer, and stop as soon as the client disconnects: a hang must not outlive its client."""
        response_task = asyncio.create_task(self._handler.handle(head, body, writer))
        disconnect_task = asyncio.create_task(requests.wait_for_disconnect())
        tasks = (response_task, disconnect_task)
        try:
            await asyncio.wait(tasks, timeout=self._timings.hang + _HANG_GRACE, return_when=asyncio.FIRST_COMPLETED)
            if not response_task.done():
                raise PeerDisconnected
            response_task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _reject_request(
        self, requests: RequestReader, connection: Connection, writer: ResponseWriter, status: int, message: str
    ) -> None:
        """Send an error response, then read the rest of the request for a limited time.

        A socket that is closed with unread bytes sends a RST, which can overtake the response (RFC 9112, 9.6).
        """
        await writer.send_response(status, invalid_request_body(message))
        connection.send_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_TIMEOUT):
                await requests.discard()


async def _drain_backlog(server: asyncio.Server) -> None:
    """Stop accepting connections, and let pending ones complete, so that they are closed with the others.

    An asyncio server that is closed while it accepts a connection loses that connection, and never closes it.
    """
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        loop.remove_reader(listening.fileno())
    for _ in range(3):  # loop iterations in which a pending connection gets its transport, is passed on, and is closed
        await asyncio.sleep(0)


def _listen_error_message(error: Exception, host: str, port: int) -> str:
    """Return why the simulator cannot listen on ``host`` and ``port``."""
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EADDRINUSE:
        return f"port {port} on {host} is in use: stop what uses it, or choose another (0 takes any free one)"
    if code in (errno.EACCES, errno.EPERM):
        return f"port {port} on {host} may not be used by this user: choose one above 1023 (0 takes any free one)"
    if isinstance(error, OverflowError):
        return f"port {port} does not exist: choose one from 0 to 65535 (0 takes any free one)"
    if code == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine: listen on 127.0.0.1, or on one it has"
    reason = os.strerror(code) if code is not None and code > 0 else "its name cannot be resolved"
    return f"cannot listen on {host}, port {port}: {reason}"
