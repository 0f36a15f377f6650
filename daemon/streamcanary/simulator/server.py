"""The simulator itself: a listening socket, the connections on it, and their end."""

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
"""Connections open at once; one more is turned away with a RST."""
_DISCARD_TIMEOUT = 1.0  # seconds for which a request that was refused is still read
_HANG_GRACE = 60.0  # seconds beyond a hang after which an answer that nobody reads is given up


class ListenError(Exception):
    """The address cannot be listened on; the message says why, and what would help."""


class Simulator:
    """An OpenAI-compatible provider that misbehaves on demand; the model's name says how.

    ``async with Simulator() as simulator:`` listens, on a free port of loopback unless told otherwise, until the block
    ends. With an ``api_key``, any other is answered 401. ``connection`` is how long a connection lasts: ``keep-alive``,
    ``close``, or ``eof``, whose answers end with it (:data:`Lifetime`). With ``ssl``, it speaks TLS; if not
    ``close_notify``, it ends TLS connections without the word that nothing follows. ``on_request`` is told of each
    request as it is answered, and must be quick.

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
            raise ValueError("close_notify is a word of TLS: leave it on, or give ssl")
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
            CannotListen: if the port is in use, or the address is none of this machine's.
            RuntimeError: if it listens already.
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
        """Stop listening and end every connection at once, hanging ones too. Closing twice does nothing more."""
        server, self._server = self._server, None
        if server is None:
            return
        try:
            await _drain_backlog(server)
        finally:  # whoever cancels this has the end all the same
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
        """The port it listens on, or did before it was closed.

        Raises:
            RuntimeError: if it has never been started.
        """
        return self._bound_address()[1]

    @property
    def base_url(self) -> str:
        """What a client takes as its base URL, such as ``http://127.0.0.1:8080/v1``.

        Raises:
            RuntimeError: if it has never been started.
        """
        host, port = self._bound_address()
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - turned into an address to call
        return f"{'https' if self._ssl else 'http'}://{f'[{host}]' if ':' in host else host}:{port}/v1"

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The last thousand requests, the oldest first."""
        return tuple(self._handler.requests)

    @property
    def responses(self) -> tuple[RecordedResponse, ...]:
        """What went out in answer to each of :attr:`requests`, in the same order."""
        return tuple(self._handler.responses)

    @property
    def connection_count(self) -> int:
        """How many connections are open now."""
        return len(self._tasks)

    @property
    def current_phase(self) -> Phase | None:
        """The phase of the timeline that is on; ``None`` without a timeline."""
        return self._handler.current_phase

    def restart_timeline(self) -> None:
        """Begin the timeline anew, now; counted and diced faults (``@N``, ``%P``) begin anew with it."""
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
        connection.abort()  # has ended, unless the task was cancelled before it had begun
        if not task.cancelled() and (error := task.exception()) is not None:  # a bug: told as the loop tells its own
            task.get_loop().call_exception_handler({"message": "the simulator failed to answer", "exception": error})

    async def _serve_connection(self, requests: RequestReader, connection: Connection) -> None:
        """Answer the requests of one connection until one of the two sides has had enough."""
        try:
            while await self._handle_request(requests, connection):
                pass
        except asyncio.CancelledError:
            connection.abort()
            raise
        except (PeerDisconnected, OSError):
            pass  # gone, out of reach, or idle for too long (TimeoutError): nobody is left to be told
        finally:
            await connection.close_and_wait()

    async def _handle_request(self, requests: RequestReader, connection: Connection) -> bool:
        """Answer one request, and tell whether the connection may serve another."""
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
            too_slow = f"the request was not complete within {self._timings.request_timeout:g} s"
            await self._reject_request(requests, connection, writer, 408, too_slow)
            return False
        writer.is_reusable = head.is_keep_alive and self._lifetime == "keep-alive"
        await self._respond(requests, head, body, writer)
        return writer.is_reusable

    async def _respond(self, requests: RequestReader, head: RequestHead, body: bytes, writer: ResponseWriter) -> None:
        """Answer, and stop as soon as the other side has gone: a hang must not outlive the one who waits for it."""
        response_task = asyncio.create_task(self._handler.handle(head, body, writer))
        disconnect_task = asyncio.create_task(requests.wait_for_disconnect())
        both = (response_task, disconnect_task)
        try:
            await asyncio.wait(both, timeout=self._timings.hang + _HANG_GRACE, return_when=asyncio.FIRST_COMPLETED)
            if not response_task.done():
                raise PeerDisconnected
            response_task.result()
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _reject_request(
        self, requests: RequestReader, connection: Connection, writer: ResponseWriter, status: int, message: str
    ) -> None:
        """Say what is wrong with the request, then read on for a moment.

        A socket that is closed with bytes unread sends a RST, which can overtake the answer (RFC 9112, 9.6).
        """
        await writer.send_response(status, invalid_request_body(message))
        connection.send_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_TIMEOUT):
                await requests.discard()


async def _drain_backlog(server: asyncio.Server) -> None:
    """Let nobody knock any more, and let those in who have: they are turned away with the others.

    A server of asyncio that is closed in the moment in which it accepts a connection loses it, and never closes it.
    """
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        loop.remove_reader(listening.fileno())
    for _ in range(3):  # turns of the loop: the connection has its transport, is handed over, and is gone
        await asyncio.sleep(0)


def _listen_error_message(error: Exception, host: str, port: int) -> str:
    """Return why ``host`` and ``port`` cannot be listened on."""
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
