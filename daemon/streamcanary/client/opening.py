"""What has come of a request while its answer is still being opened.

The SDK reads the whole body of an error before it says anything. When that body stalls, our clock strikes first, and
the status, the request id and ``Retry-After`` would be lost. The transport's ``trace`` extension tells of the headers
as they come (https://www.python-httpx.org/advanced/extensions/#trace); a transport without it tells nothing.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Self

import httpx2
from openai import AsyncOpenAI, OpenAI

from streamcanary.client.attempt import ResponseHead

_current: ContextVar["Opening | None"] = ContextVar("streamcanary.opening", default=None)


class Opening:
    """Watches the requests that the SDK makes within ``with Opening() as opening``; ``head`` is the last answer's."""

    __slots__ = ("_token", "head")

    def __init__(self) -> None:
        self.head: ResponseHead | None = None

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _current.reset(self._token)

    def note(self, name: str, info: Mapping[str, Any]) -> None:
        """Take note of what the transport tells."""
        if name == "http11.receive_response_headers.complete":
            _, status, _, headers = info["return_value"]
        elif name == "http2.receive_response_headers.complete":
            status, headers = info["return_value"]
        else:
            return
        self.head = ResponseHead(status, httpx2.Headers(headers))

    async def note_async(self, name: str, info: Mapping[str, Any]) -> None:
        """Take note of what an asynchronous transport tells."""
        self.note(name, info)


def watched_async(client: AsyncOpenAI) -> AsyncOpenAI:
    """Return a copy of ``client`` that does not retry by itself, and whose requests an :class:`Opening` can watch."""
    copy = client.with_options(max_retries=0)
    prepare = copy._prepare_request  # the SDK's own hook: called with each request before it is sent

    async def prepare_and_watch(request: httpx2.Request) -> None:
        await prepare(request)
        if (opening := _current.get()) is not None:
            request.extensions.setdefault("trace", opening.note_async)

    copy._prepare_request = prepare_and_watch  # type: ignore[method-assign]
    return copy


def watched_sync(client: OpenAI) -> OpenAI:
    """Return a copy of ``client`` as :func:`watched_async` does."""
    copy = client.with_options(max_retries=0)
    prepare = copy._prepare_request

    def prepare_and_watch(request: httpx2.Request) -> None:
        prepare(request)
        if (opening := _current.get()) is not None:
            request.extensions.setdefault("trace", opening.note)

    copy._prepare_request = prepare_and_watch  # type: ignore[method-assign]
    return copy
