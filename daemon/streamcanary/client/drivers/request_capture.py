"""What has come of a request while its answer is still being opened.

The SDK reads the whole body of an error before it says anything. When that body stalls, our clock strikes first, and
the status, the request id and ``Retry-After`` would be lost. So we look at each answer where the SDK's transport hands
it over: its headers have come, and its body has not been read.
"""

from contextvars import ContextVar
from typing import Any, Self

import httpx2
from openai import AsyncOpenAI, OpenAI

from streamcanary.client.core.attempt import ResponseHead
from streamcanary.client.core.request import redact_url

_current_capture: ContextVar["RequestCapture | None"] = ContextVar("streamcanary.opening", default=None)


class RequestCapture:
    """Watches the requests that the SDK makes within ``with Opening() as opening``; ``head`` is the last error's."""

    __slots__ = ("_request", "_token", "error_head")

    def __init__(self) -> None:
        self.error_head: ResponseHead | None = None
        self._request: httpx2.Request | None = None

    @property
    def url(self) -> str:
        """Where the request went, fit to be shown; empty if it was never made. It is the SDK that knows: see Azure."""
        return redact_url(self._request.url) if self._request is not None else ""

    @property
    def credentials(self) -> tuple[str, ...]:
        """What the request proved itself with: keys and tokens that the SDK may have asked others for."""
        headers = self._request.headers if self._request is not None else {}
        auth_headers = (headers.get("authorization"), headers.get("api-key"))
        return tuple(value.rpartition(" ")[2] for value in auth_headers if value)

    def on_request(self, request: httpx2.Request) -> None:
        """Take note of a request that is about to be sent.

        Raises:
            OverflowError: if its port does not exist; some resolvers would fold it into one that does.
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
    """Return a copy of ``client`` that does not retry by itself, and whose requests an :class:`Opening` can watch."""
    copy = client.with_options(max_retries=0)
    send = copy._send_request  # every request goes through it, whatever the transport

    async def send_and_note(request: httpx2.Request, *, stream: bool, **options: Any) -> httpx2.Response:
        if (opening := _current_capture.get()) is not None:
            opening.on_request(request)
        response = await send(request, stream=stream, **options)
        _on_response(response)
        return response

    copy._send_request = send_and_note  # type: ignore[method-assign]
    return copy


def capturing_sync_client(client: OpenAI) -> OpenAI:
    """Return a copy of ``client`` as :func:`watched_async` does."""
    copy = client.with_options(max_retries=0)
    send = copy._send_request

    def send_and_note(request: httpx2.Request, *, stream: bool, **options: Any) -> httpx2.Response:
        if (opening := _current_capture.get()) is not None:
            opening.on_request(request)
        response = send(request, stream=stream, **options)
        _on_response(response)
        return response

    copy._send_request = send_and_note  # type: ignore[method-assign]
    return copy
