"""Builds the requests of an HTTP client of the SDK, which differ from each other in their bodies, and little else.

``httpx2`` copies the headers of each request four times, and parses its URL twice, which takes longer than to send it.
So the URL and the headers of a request that it has built are kept, and the next one with the same begins with them.
"""

from typing import Any, Final

import httpx2
from msgspec import Struct

_MAX_HEADS: Final = 16  # of one client; headers change with a key that expires, and hardly otherwise
_LENGTH: Final = "Content-Length"


class _Head(Struct, frozen=True):
    """What requests have in common: all but the body and its length."""

    method: str
    url: httpx2.URL
    headers: httpx2.Headers


class RequestBuilder:
    """An HTTP client in whose place it stands, with another ``build_request``; everything else is that of ``client``.

    A request with other options than a URL, headers, bytes and timeouts is built by ``client``, and so is any request
    of a client that keeps cookies or adds parameters.
    """

    def __init__(self, client: httpx2.AsyncClient | httpx2.Client) -> None:
        self._client = client
        self._heads: dict[tuple[Any, ...], _Head] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    @property  # type: ignore[misc] # isinstance() is that of the client
    def __class__(self) -> Any:
        return type(self._client)

    def build_request(
        self,
        method: str,
        url: Any,
        *,
        content: Any = None,
        headers: Any = None,
        timeout: Any = httpx2.USE_CLIENT_DEFAULT,
        **options: Any,
    ) -> httpx2.Request:
        """Return the request that the client builds."""
        client = self._client
        is_usual = type(url) is str and type(content) is bytes and type(headers) is list and content
        has_more = client.cookies or client.params or any(value is not None for value in options.values())
        if not is_usual or has_more or not isinstance(timeout, httpx2.Timeout):
            return client.build_request(method, url, content=content, headers=headers, timeout=timeout, **options)
        source = (method, url, *client.headers.raw, *headers)
        head = self._heads.get(source)
        if head is None:
            request = client.build_request(method, url, content=content, headers=headers, timeout=timeout)
            self._keep(source, request, headers)
            return request
        request = httpx2.Request(
            head.method,
            head.url,
            headers=head.headers,
            stream=httpx2.ByteStream(content),
            extensions={"timeout": timeout.as_dict()},
        )
        request.headers.encoding = head.headers.encoding  # it would be found out again for each request
        request.headers[_LENGTH] = str(len(content))
        request.read()
        return request

    def _keep(self, source: tuple[Any, ...], request: httpx2.Request, given: list[tuple[str, str]]) -> None:
        if not request.url.is_absolute_url or any(name.lower() == "content-length" for name, _ in given):
            return
        if len(self._heads) >= _MAX_HEADS:
            self._heads.clear()
        headers = request.headers.copy()
        del headers[_LENGTH]
        self._heads[source] = _Head(request.method, request.url, headers)


def keep_heads(sdk: Any) -> None:
    """Let ``sdk``, a copy of a client of the SDK, build its requests with heads that are kept.

    An HTTP client that overrides ``build_request``, or is not of ``httpx2``, builds them as before.
    """
    client = sdk._client
    if isinstance(client, httpx2.AsyncClient | httpx2.Client) and (
        type(client).build_request in (httpx2.AsyncClient.build_request, httpx2.Client.build_request)
    ):
        sdk._client = RequestBuilder(client)
