"""Captures the HTTP requests of the SDK, follows no redirect, and reads the bodies of error responses with bounds.

The SDK reads the whole body of an error response before it raises, decompresses it as often as the server says, and
loses the status if the body stalls. It also follows redirects, with all headers except for ``Authorization``. So the
copy of the SDK client that streams use takes each response where the SDK's transport returns it: its headers have
arrived, and its body has not been read.
"""

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Self

import httpx2
from openai import AsyncOpenAI, OpenAI, OpenAIError
from openai._base_client import get_platform

from streamcanary.client.core.decoding.error_body import ErrorBody
from streamcanary.client.core.request import redact_url
from streamcanary.client.core.response_head import ResponseHead
from streamcanary.client.core.sdk_request import SdkRequest, has_templates, keep_templates
from streamcanary.client.drivers.loop_share import MAX_BODY_PIECES, LoopShare, take_turns
from streamcanary.client.drivers.socket_timer import SocketTimer, socket_of
from streamcanary.transport.content_coding import (
    ContentCodingRefused,
    ContentDecoder,
    create_decoder,
    supported_accept_encoding,
)
from streamcanary.transport.response_head import EventObserver, HeadGuard

_CREDENTIAL_HEADER = re.compile(rb"authorization|cookie|token|secret|(?<!idempotency-)key", re.IGNORECASE)
_CACHED_URLS = 16  # the paths of an SDK client: one for each API, with Azure one for each model
_current_capture: ContextVar["RequestCapture | None"] = ContextVar("streamcanary.request_capture", default=None)


class ErrorStatus(OpenAIError):
    """The server answered with a status of 300 or more; the capture of the request has the response."""


class RequestCapture:
    """Captures the request that the SDK sends within ``with capture:``, and an error response.

    ``deadline`` is when the body of an error response must have arrived, in monotonic seconds. ``observe`` is called
    with the request before it is sent, and returns what observes the events of its transport. ``on_headers`` is called
    with the response before its body is read. ``guard`` bounds what comes before the head of
    the response. ``loop_share`` bounds the work of reading an error body in an event loop. ``sdk_request`` is what the
    SDK is called with, if it is known.
    """

    __slots__ = (
        "_accept_encoding",
        "_decoder",
        "_error_body",
        "_error_response",
        "_observe",
        "_on_headers",
        "_refusal",
        "_request",
        "_token",
        "deadline",
        "guard",
        "loop_share",
        "sdk_request",
    )

    def __init__(
        self,
        deadline: float = math.inf,
        observe: Callable[[httpx2.Request], EventObserver | None] = lambda request: None,
        on_headers: Callable[[httpx2.Response], None] = lambda response: None,
        *,
        guard: HeadGuard | None = None,
        loop_share: LoopShare | None = None,
        sdk_request: SdkRequest | None = None,
    ) -> None:
        self.deadline = deadline
        self.sdk_request = sdk_request
        self.guard = guard or HeadGuard()
        self.loop_share = loop_share or LoopShare(1.0, time.monotonic)
        self._observe = observe
        self._on_headers = on_headers
        self._request: httpx2.Request | None = None
        self._accept_encoding = ""
        self._decoder: ContentDecoder | None = None
        self._refusal = ""
        self._error_response: httpx2.Response | None = None
        self._error_body: ErrorBody | None = None

    @property
    def url(self) -> str:
        """The redacted URL of the request, ``""`` if none was made; for Azure, the SDK changes the URL."""
        return redact_url(self._request.url) if self._request is not None else ""

    @property
    def credentials(self) -> tuple[str, ...]:
        """The keys, tokens and cookies of the request, including those that the SDK got from a key provider."""
        if self._request is None:
            return ()
        return tuple(
            value.removeprefix(b"Bearer ").decode("latin-1")
            for name, value in self._request.headers.raw  # not decoded: most headers are no credentials
            if value and _has_credential(name)
        )

    @property
    def error_head(self) -> ResponseHead | None:
        """The error response, with its body as far as it has arrived; ``None`` if there is none."""
        response, body = self._error_response, self._error_body
        if response is None or body is None:
            return None
        return ResponseHead(response.status_code, response.headers, redact_url(response.request.url), body.parse())

    def head(self, response: httpx2.Response) -> ResponseHead:
        """Return the head of a response whose body is an answer."""
        headers = dict(response.headers.items())  # decoded once
        return ResponseHead(response.status_code, headers, redact_url(response.request.url), refusal=self._refusal)

    def on_request(self, request: httpx2.Request, options: dict[str, Any]) -> None:
        """Capture a request that is about to be sent with ``options``, and change what it accepts.

        Raises:
            OverflowError: if its port is over 65535; some resolvers would wrap it around to a valid port.
        """
        self._request = request
        if (request.url.port or 0) > 65535:
            raise OverflowError("port must be 0-65535")
        options["follow_redirects"] = False
        offered = request.headers.get("accept-encoding")
        self._accept_encoding = supported_accept_encoding(offered) if offered else ""
        if offered and offered != self._accept_encoding:
            request.headers["accept-encoding"] = self._accept_encoding
        self.guard.observer = self._observe(request)

    def on_response(self, response: httpx2.Response) -> ErrorBody | None:
        """Capture a response; return where to put its body if it is an error."""
        self._on_headers(response)
        if response.status_code >= 300:
            self._error_response = response
            self._error_body = ErrorBody(response.headers, self._accept_encoding)
            return self._error_body
        try:
            self._decoder = create_decoder(response.headers.get("content-encoding"), self._accept_encoding)
        except ContentCodingRefused as error:
            self._refusal = f"the server answered, but {error}"
        return None

    def iter_body(self, response: httpx2.Response) -> Iterator[bytes]:
        """Return the decoded body of ``response``, in pieces of bounded size."""
        if response.is_stream_consumed:  # a transport that returns whole responses
            return response.iter_bytes()
        return _raw_body(response) if self._decoder is None else _decode(response.iter_raw(), self._decoder)

    def aiter_body(self, response: httpx2.Response) -> AsyncIterator[bytes]:
        """Return the decoded body of ``response``, in pieces of bounded size."""
        if response.is_stream_consumed:
            return response.aiter_bytes()
        return _araw_body(response) if self._decoder is None else _adecode(response.aiter_raw(), self._decoder)

    def __enter__(self) -> Self:
        self._token = _current_capture.set(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _current_capture.reset(self._token)
        self.guard.release()


@lru_cache(maxsize=256)
def _has_credential(header: bytes) -> bool:
    return _CREDENTIAL_HEADER.search(header) is not None


def capturing_async_client(client: AsyncOpenAI) -> AsyncOpenAI:
    """Return a copy of ``client`` that neither retries nor redirects, and whose requests are captured.

    A client that is such a copy already is returned as it is, so that many callers can share one.
    """
    if has_templates(client):
        return client
    copy = client.with_options(max_retries=0)
    keep_templates(copy, _current_sdk_request)
    # The SDK would find it out in a thread before the first request, and wait for one if all threads are busy. It takes
    # some milliseconds once in a process.
    copy._platform = get_platform()
    copy._prepare_url = lru_cache(_CACHED_URLS)(copy._prepare_url)  # type: ignore[method-assign] # parses it twice
    send = copy._send_request  # every request goes through it, with any transport

    async def send_and_capture(request: httpx2.Request, *, stream: bool, **options: Any) -> httpx2.Response:
        capture = _current_capture.get() or RequestCapture()
        capture.on_request(request, options)
        capture.guard.guard_async(request)
        response = await send(request, stream=stream, **options)
        if (error_body := capture.on_response(response)) is not None:
            await _aread_error(response, error_body, capture.loop_share)
            raise ErrorStatus
        return response

    copy._send_request = send_and_capture  # type: ignore[method-assign]
    return copy


def capturing_sync_client(client: OpenAI) -> OpenAI:
    """Return a copy of ``client`` as :func:`capturing_async_client` does."""
    if has_templates(client):
        return client
    copy = client.with_options(max_retries=0)
    keep_templates(copy, _current_sdk_request)
    copy._prepare_url = lru_cache(_CACHED_URLS)(copy._prepare_url)  # type: ignore[method-assign] # parses it twice
    send = copy._send_request

    def send_and_capture(request: httpx2.Request, *, stream: bool, **options: Any) -> httpx2.Response:
        capture = _current_capture.get() or RequestCapture()
        capture.on_request(request, options)
        capture.guard.guard(request)
        response = send(request, stream=stream, **options)
        if (error_body := capture.on_response(response)) is not None:
            _read_error(response, error_body, capture.deadline)
            raise ErrorStatus
        return response

    copy._send_request = send_and_capture  # type: ignore[method-assign]
    return copy


def _current_sdk_request() -> SdkRequest | None:
    capture = _current_capture.get()
    return None if capture is None else capture.sdk_request


async def _aread_error(response: httpx2.Response, body: ErrorBody, share: LoopShare) -> None:
    """Read the body of an error response up to its limits, and close the connection if there is more.

    Other tasks run between its pieces, as ``share`` says. There, too, the deadline is noticed.
    """
    try:
        if response.is_stream_consumed:  # a transport that returns whole responses
            body.feed_decoded(response.content)
        elif not body.is_full:
            async with aclosing(take_turns(response.aiter_raw(), share)) as pieces:
                async for data in pieces:
                    if not body.feed(data):
                        break
    except Exception:  # noqa: BLE001, S110 - the status decides; the body only explains it
        pass
    finally:
        await response.aclose()


def _read_error(response: httpx2.Response, body: ErrorBody, deadline: float) -> None:
    """Read as :func:`_aread_error` does, until ``deadline`` (monotonic seconds)."""
    timer = SocketTimer(socket_of(response))
    timer.arm(deadline)
    try:
        if response.is_stream_consumed:
            body.feed_decoded(response.content)
        elif not body.is_full:
            for count, data in enumerate(response.iter_raw(), 1):
                if not body.feed(data) or count >= MAX_BODY_PIECES or time.monotonic() >= deadline:
                    break
    except Exception:  # noqa: BLE001, S110 - the status decides; the body only explains it
        pass
    finally:
        timer.close()
        response.close()


def _raw_body(response: httpx2.Response) -> Iterator[bytes]:
    """Return the body of ``response`` as it arrives; the caller closes the response also after the last piece.

    This is what ``iter_raw()`` reads, without the counting and cutting that it does for each piece: nobody else reads
    this response, and pieces of any size are fine.
    """
    stream, is_usual = response.stream, type(response).iter_raw is httpx2.Response.iter_raw
    return iter(stream) if is_usual and isinstance(stream, httpx2.SyncByteStream) else response.iter_raw()


def _araw_body(response: httpx2.Response) -> AsyncIterator[bytes]:
    """Return the body of ``response`` as :func:`_raw_body` does."""
    stream, is_usual = response.stream, type(response).aiter_raw is httpx2.Response.aiter_raw
    return aiter(stream) if is_usual and isinstance(stream, httpx2.AsyncByteStream) else response.aiter_raw()


def _decode(pieces: Iterator[bytes], decoder: ContentDecoder) -> Iterator[bytes]:
    for data in pieces:
        yield from decoder.decode(data)


async def _adecode(pieces: AsyncIterator[bytes], decoder: ContentDecoder) -> AsyncIterator[bytes]:
    async for data in pieces:
        for piece in decoder.decode(data):
            yield piece
            await asyncio.sleep(0)  # what a few bytes decode to must not keep the event loop busy
