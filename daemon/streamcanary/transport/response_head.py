"""Bounds what a server can send before the final head of a response, and says which connection carries the request.

Servers may send any number of informational responses (1xx, RFC 9110, 15.2) first, and the HTTP library skips them all
without a limit: thousands from one read, in which nothing else runs.

The library offers no such limit, but reports what it does to the ``trace`` of a request, with each new connection. The
stream of a connection gets a type that asks the guard of the current request, if any, before it passes data on.
HTTP/2 is not guarded: there, several requests share the stream.
"""

import inspect
import re
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import cache
from typing import Any, Final

import httpx2

MAX_INFORMATIONAL: Final = 20
"""Informational responses before the final one; servers send one or two."""
MAX_BYTES: Final = 64 << 10
"""Bytes of all informational responses."""

_STATUS_LINE: Final = re.compile(rb"\nHTTP/\d\.\d (\d)")
_STATUS_LINE_LENGTH: Final = len(b"\nHTTP/1.1 1")
_NEW_STREAM: Final = (".connect_tcp.complete", ".connect_unix_socket.complete", ".start_tls.complete")
_SENDING: Final = ("http11.send_request_headers.started", "http11.receive_response_headers.started")
_HEAD_ENDED: Final = "http11.receive_response_headers.complete"
_SENT: Final = ".send_request_body.complete"
_BODY_SENT: Final = f"http11{_SENT}"

EventObserver = Callable[[str, dict[str, Any]], None]
"""Takes the name and the details of an event of the transport."""

_current_guard: ContextVar["HeadGuard | None"] = ContextVar("streamcanary.head_guard", default=None)


class ResponseHeadTooLong(httpx2.RemoteProtocolError):
    """A server sent more informational responses than :data:`MAX_INFORMATIONAL` or :data:`MAX_BYTES`."""


class HeadGuard:
    """Guards one request.

    ``on_stream`` is called with the stream of its connection, before the request is sent; for a tunnel through a proxy,
    also before the request to the proxy.

    ``observer`` is called with each event of the transport, before the ``trace`` that the request has already.

    ``excess`` says what was over a limit, ``""`` if nothing. ``sent_at`` is when the request was sent, in monotonic
    seconds; ``None`` before, and with a transport that does not report it.
    """

    __slots__ = (
        "_is_final",
        "_is_stream_known",
        "_on_stream",
        "_responses",
        "_size",
        "_tail",
        "_trace",
        "excess",
        "observer",
        "sent_at",
    )

    def __init__(self, on_stream: Callable[[Any], None] | None = None) -> None:
        self._on_stream = on_stream
        self._is_stream_known = False
        self._trace: Callable[[str, dict[str, Any]], Any] | None = None  # of the caller
        self._responses = 0
        self._size = 0
        self._tail = b"\n"
        self._is_final = False
        self.observer: EventObserver | None = None
        self.excess = ""
        self.sent_at: float | None = None

    @classmethod
    def of(cls, request: httpx2.Request) -> "HeadGuard":
        """Return the guard of ``request``; a new one, unless the caller guards it."""
        guard = getattr(request.extensions.get("trace"), "__self__", None)
        if not isinstance(guard, cls):
            guard = cls()
            guard.guard_async(request)
        return guard

    def guard(self, request: httpx2.Request) -> None:
        """Guard a request that is about to be sent by a synchronous transport."""
        self._trace = request.extensions.get("trace")
        request.extensions = {**request.extensions, "trace": self._on_trace}

    def guard_async(self, request: httpx2.Request) -> None:
        """Guard a request that is about to be sent by an asynchronous transport."""
        self._trace = request.extensions.get("trace")
        request.extensions = {**request.extensions, "trace": self._on_async_trace}

    def release(self) -> None:
        """Forget ``on_stream``: the request has been answered, or has failed."""
        self._on_stream = None

    def start_head(self) -> None:
        """Handle that the request is sent, for a transport that passes what it reads then to :meth:`check`."""
        self._responses, self._size, self._tail, self._is_final = 0, 0, b"\n", False
        self._is_stream_known = False

    def on_event(self, event: str, info: dict[str, Any]) -> Awaitable[None] | None:
        """Handle an event of a transport that calls :meth:`check` itself; await what is returned, if anything."""
        if event == _BODY_SENT:
            self.sent_at = time.monotonic()
        if self.observer is not None:
            self.observer(event, info)
        return None if self._trace is None else self._trace(event, info)

    def use_stream(self, stream: Any) -> None:
        """Handle that the request is about to be sent or answered on ``stream``."""
        if self._on_stream is not None and not self._is_stream_known:
            self._is_stream_known = True
            self._on_stream(stream)

    def check(self, data: bytes) -> bytes:
        """Return ``data`` from the connection.

        Raises:
            ResponseHeadTooLong: if there are too many informational responses.
        """
        if self._is_final:
            return data
        window = self._tail + data
        for status_line in _STATUS_LINE.finditer(window):
            if status_line[1] != b"1":
                self._is_final = True
                return data
            self._responses += 1
        self._tail = window[1 - _STATUS_LINE_LENGTH :]
        self._size += len(data)
        if self._responses > MAX_INFORMATIONAL or self._size > MAX_BYTES:
            bound = f"{MAX_INFORMATIONAL}" if self._responses > MAX_INFORMATIONAL else f"{MAX_BYTES >> 10} KiB of"
            self.excess = f"the server sent more than {bound} informational responses (1xx) and no final response"
            raise ResponseHeadTooLong(self.excess)
        return data

    def _on_trace(self, event: str, info: dict[str, Any]) -> None:
        self._handle(event, info)
        if self._trace is not None:
            self._trace(event, info)

    async def _on_async_trace(self, event: str, info: dict[str, Any]) -> None:
        self._handle(event, info)
        if self._trace is not None:
            await self._trace(event, info)

    def _handle(self, event: str, info: dict[str, Any]) -> None:
        if event in _SENDING:
            if event == _SENDING[0]:  # after the CONNECT of a proxy, the request itself
                self.start_head()
            _current_guard.set(self)
        elif event == _HEAD_ENDED or event.endswith(".failed"):
            _current_guard.set(None)
        elif event.endswith(_NEW_STREAM):
            _guard_stream(info.get("return_value"))
        elif event.endswith(_SENT):
            self.sent_at = time.monotonic()
        if self.observer is not None:
            self.observer(event, info)


def guard_unless_guarded(request: httpx2.Request) -> None:
    """Guard a request that an asynchronous transport is about to send, unless the caller guards it."""
    if not isinstance(getattr(request.extensions.get("trace"), "__self__", None), HeadGuard):
        HeadGuard().guard_async(request)


def _guard_stream(stream: Any) -> None:
    """Give ``stream`` the type that asks the current guard; a stream that does not allow that stays unguarded."""
    stream_type: Any = type(stream)
    try:
        stream.__class__ = _guarded_type(stream_type)
    except TypeError:  # of another implementation, with slots
        return


@cache
def _guarded_type(stream_type: Any) -> Any:
    if not callable(getattr(stream_type, "read", None)) or not callable(getattr(stream_type, "write", None)):
        raise TypeError("not a network stream")
    return _async_type(stream_type) if inspect.iscoroutinefunction(stream_type.read) else _sync_type(stream_type)


def _sync_type(stream_type: Any) -> Any:
    base_read, base_write, current_guard = stream_type.read, stream_type.write, _current_guard.get

    class GuardedStream(stream_type):  # type: ignore[misc]
        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            if (guard := current_guard()) is None:
                return base_read(self, max_bytes, timeout)  # type: ignore[no-any-return]
            guard.use_stream(self)
            return guard.check(base_read(self, max_bytes, timeout))

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            if (guard := current_guard()) is not None:
                guard.use_stream(self)
            base_write(self, buffer, timeout)

    return GuardedStream


def _async_type(stream_type: Any) -> Any:
    base_read, current_guard = stream_type.read, _current_guard.get

    class GuardedStream(stream_type):  # type: ignore[misc]
        def read(self, max_bytes: int, timeout: float | None = None) -> Awaitable[bytes]:
            guard, data = current_guard(), base_read(self, max_bytes, timeout)
            return data if guard is None else _checked(guard, data)

    return GuardedStream


async def _checked(guard: HeadGuard, data: Awaitable[bytes]) -> bytes:
    return guard.check(await data)
