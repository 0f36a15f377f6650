"""One connection of HTTP/1.1: sends a request, and reads its response, one after the other."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, cast

import h11
import httpx2

from streamcanary.transport.connections import CLOSES_AT_ONCE
from streamcanary.transport.http1.byte_stream import Stream
from streamcanary.transport.resolution import emit_event
from streamcanary.transport.response_head import HeadGuard

_MAX_HEAD: Final = 100 << 10  # bytes of the head of a response, or of a line between two chunks
_MAX_PENDING: Final = 64 << 10  # bytes of a request that are sent together
MAX_JOINED_CHUNKS: Final = 8  # of a body that are passed on together: decoding them takes as long as one read counts
_CACHED_HEADS: Final = 64  # of requests: the runs of a canary differ in their bodies
_NOTHING: Final = (b"", False)  # bytes after a response, and whether the connection has ended


class Http1Connection:
    """A connection to one host. ``release`` is called with it when a response is closed.

    ``idle_since`` is when, by the clock ``now``, if another request can be sent; ``None`` if not.
    """

    def __init__(self, stream: Stream, release: Callable[["Http1Connection"], None], now: Callable[[], float]) -> None:
        self._stream = stream
        self._release = release
        self._now = now
        self._http = h11.Connection(h11.CLIENT, _MAX_HEAD)
        self._read_timeout: float | None = None
        self._ahead: Any = None  # the event, or the error, that followed the last bytes of the body in the same read
        self.idle_since: float | None = None

    @property
    def is_usable(self) -> bool:
        """Whether another request can be sent."""
        return self.idle_since is not None and self._stream.is_silent()

    def abort(self) -> None:
        """Close the connection at once."""
        self.idle_since = None
        self._stream.abort()

    async def aclose(self) -> None:
        """Close the connection at once, and wait for that."""
        self.idle_since = None
        await self._stream.aclose()

    async def send(self, request: httpx2.Request, guard: HeadGuard) -> httpx2.Response:
        """Send ``request``, and return the response when its head has arrived.

        Raises:
            httpx2.LocalProtocolError: if a header is invalid.
            httpx2.NetworkError: if the connection is lost.
            httpx2.RemoteProtocolError: if the server does not speak HTTP/1.1, leaves it for another protocol, or sends
                too much before the response.
            httpx2.TimeoutException: if a timeout of the request expires.
        """
        self.idle_since = self._ahead = None
        timeouts: Mapping[str, float | None] = request.extensions.get("timeout", {})
        self._read_timeout = timeouts.get("read")
        try:
            with suppress(httpx2.WriteError):  # a server may close the connection early, and its response says why
                await self._send_request(request, guard, timeouts.get("write"))
            response = await self._receive_head(request, guard)
        except BaseException:
            await self.aclose()
            raise
        return httpx2.Response(
            response.status_code,
            headers=response.headers.raw_items(),
            stream=ResponseBody(self),
            extensions={
                "http_version": b"HTTP/" + response.http_version,
                "reason_phrase": response.reason,
                "network_stream": self._stream,
                CLOSES_AT_ONCE: True,
            },
        )

    async def _send_request(self, request: httpx2.Request, guard: HeadGuard, timeout: float | None) -> None:  # noqa: ASYNC109
        info: dict[str, Any] = {"request": request}
        await emit_event(guard.on_event, "http11.send_request_headers.started", info)
        guard.start_head()
        try:
            head = _request_head(request.method, request.url.raw_path, tuple(request.headers.raw))
            pending = self._http.send(head) or b""
        except h11.LocalProtocolError as error:
            raise httpx2.LocalProtocolError(str(error)) from error
        await emit_event(guard.on_event, "http11.send_request_headers.complete", {"return_value": None})
        await emit_event(guard.on_event, "http11.send_request_body.started", info)
        async for piece in cast("AsyncIterable[bytes]", request.stream):
            pending += self._encode(h11.Data(data=piece))
            if len(pending) >= _MAX_PENDING:
                await self._stream.write(pending, timeout)
                pending = b""
        pending += self._encode(h11.EndOfMessage())
        if pending:
            await self._stream.write(pending, timeout)
        await emit_event(guard.on_event, "http11.send_request_body.complete", {"return_value": None})

    def _encode(self, event: Any) -> bytes:
        try:
            return self._http.send(event) or b""
        except h11.LocalProtocolError as error:  # such as more bytes than the header Content-Length says
            raise httpx2.LocalProtocolError(str(error)) from error

    async def _receive_head(self, request: httpx2.Request, guard: HeadGuard) -> h11.Response:
        await emit_event(guard.on_event, "http11.receive_response_headers.started", {"request": request})
        try:
            event = await self.next_event(guard)
            while not isinstance(event, h11.Response):
                event = await self.next_event(guard)
        except BaseException as error:
            await emit_event(guard.on_event, "http11.receive_response_headers.failed", {"exception": error})
            raise
        info = {"return_value": (b"HTTP/" + event.http_version, event.status_code, event.reason, event.headers)}
        await emit_event(guard.on_event, "http11.receive_response_headers.complete", info)
        return event

    async def next_event(self, guard: HeadGuard | None = None) -> Any:
        """Return what the server sends next, as an event of ``h11``; ``guard`` is that of the head."""
        http = self._http
        try:
            while (event := http.next_event()) is h11.NEED_DATA:
                data = await self._stream.read(self._read_timeout)
                if guard is not None:
                    guard.check(data)
                    if not data and http.their_state is h11.SEND_RESPONSE:
                        raise httpx2.RemoteProtocolError("Server disconnected without sending a response.")
                http.receive_data(data)
        except h11.RemoteProtocolError as error:
            raise httpx2.RemoteProtocolError(str(error)) from error
        if event is h11.PAUSED:
            raise httpx2.RemoteProtocolError("the server switched to another protocol (101)")
        return event

    async def read_body(self) -> bytes:
        """Return bytes of the body, those of several chunks if they arrived together; none at its end."""
        event, self._ahead = self._ahead, None
        if event is None:
            event = await self.next_event()
        elif isinstance(event, h11.RemoteProtocolError):
            raise httpx2.RemoteProtocolError(str(event)) from event
        pieces: list[bytes] = []
        while type(event) is h11.Data:
            pieces.append(bytes(event.data))
            if len(pieces) == MAX_JOINED_CHUNKS:
                break
            event = self._received_event()
        if pieces and type(event) is not h11.Data and event is not h11.NEED_DATA:
            self._ahead = event
        return b"".join(pieces)

    def _received_event(self) -> Any:
        """Return the next event of what has been received, or the error that it is."""
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            return error

    def end_response(self) -> None:
        """Handle that the response is closed: another request can follow if both sides have sent everything.

        What a server sends after its response would be taken for the response to the next request.
        """
        http = self._http
        if http.our_state is h11.DONE and http.their_state is h11.DONE and http.trailing_data == _NOTHING:
            http.start_next_cycle()
            self.idle_since = self._now()
        else:
            self.abort()
        self._release(self)


class ResponseBody(httpx2.AsyncByteStream):
    """The body of a response. Its iterator raises the errors of :meth:`Http1Connection.send`."""

    def __init__(self, connection: Http1Connection) -> None:
        self._connection: Http1Connection | None = connection

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if (connection := self._connection) is None:
            raise StopAsyncIteration
        try:
            data = await connection.read_body()
        except BaseException:
            await self.aclose()
            raise
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        """Close the response; the connection is kept if it can be reused."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.end_response()


@lru_cache(_CACHED_HEADS)
def _request_head(method: str, target: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> h11.Request:
    """Return the head of a request, which takes longer to validate than to send. It is not changed when it is sent."""
    return h11.Request(method=method.encode("ascii"), target=target, headers=list(headers))
