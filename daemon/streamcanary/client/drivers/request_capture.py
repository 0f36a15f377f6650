"""Captures the HTTP requests of the SDK, and the headers of error responses before their bodies are read.

The SDK reads the whole body of an error response before it raises. When that body stalls, the deadline of the attempt
passes first, and the status, the request id and ``Retry-After`` would be lost. So each response is captured where the
SDK's transport returns it: its headers have arrived, and its body has not been read.
"""

from contextvars import ContextVar
from typing import Any, Self

import httpx2
from openai import AsyncOpenAI, OpenAI

from streamcanary.client.core.attempt import ResponseHead
from streamcanary.client.core.request import redact_url

_current_capture: ContextVar["RequestCapture | None"] = ContextVar("streamcanary.request_capture", default=None)


class RequestCapture:
    """Captures the request that the SDK sends within ``with capture:``, and the head of an error response."""

    __slots__ = ("_request", "_token", "error_head")

    def __init__(self) -> None:
        self.error_head: ResponseHead | None = None
        self._request: httpx2.Request | None = None

    @property
    def url(self) -> str:
        """The redacted URL of the request, ``""`` if none was made; for Azure, the SDK changes the URL."""
        return redact_url(self._request.url) if self._request is not None else ""

    @property
    def credentials(self) -> tuple[str, ...]:
        """The keys and tokens of the request, including those that the SDK got from a key provider."""
        headers = self._request.headers if self._request is not None else {}
        auth_headers = (headers.get("authorization"), headers.get("api-key"))
        return tuple(value.rpartition(" ")[2] for value in auth_headers if value)

    def on_request(self, request: httpx2.Request) -> None:
        """Capture a request that is about to be sent.

        Raises:
            OverflowError: if its port is over 65535; some resolvers would wrap it around to a valid port.
        """
        self._request = request
        if (request.url.port or 0) > 65535:
            raise OverflowError("port must be 0-65535")

    def __enter__(self) -> Self:
        self._token = _current_capture.set(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _current_capture.reset(self._token)


def _on_response(response: httpx2.Response) -> None:
    if response.status_code >= 300 and (capture := _current_capture.get()) is not None:
        capture.error_head = ResponseHead(response.status_code, response.headers)


def capturing_async_client(client: AsyncOpenAI) -> AsyncOpenAI:
    """Return a copy of ``client`` that does not retry, and whose requests a :class:`RequestCapture` records."""
    copy = client.with_options(max_retries=0)
    send = copy._send_request  # every request goes through it, with any transport

    async def send_and_capture(request: httpx2.Request, *, stream: bool, **options: Any) -> httpx2.Response:
        if (capture := _current_capture.get()) is not None:
            capture.on_request(request)
        response = await send(request, stream=stream, **options)
        _on_response(response)
        return response

    copy._send_request = send_and_capture  # type: ignore[method-assign]
    return copy


def capturing_sync_client(client: OpenAI) -> OpenAI:
    """Return a copy of ``client`` as :func:`capturing_async_client` does."""
    copy = client.with_options(max_retries=0)
    send = copy._send_request

    def send_and_capture(request: httpx2.Request, *, stream: bool, **options: Any) -> httpx2.Response:
        if (capture := _current_capture.get()) is not None:
            capture.on_request(request)
        response = send(request, stream=stream, **options)
        _on_response(response)
        return response

    copy._send_request = send_and_capture  # type: ignore[method-assign]
    return copy
