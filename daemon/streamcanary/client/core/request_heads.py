"""Builds requests of the SDK with the URL and the headers of an earlier one, and a body of their own.

The SDK and its HTTP client copy the headers of each request six times, and parse its URL twice, which takes longer than
to send it. Here, what they make of the URL and the headers is kept. What these are made of is read for each request:
the key or token, and the default headers and parameters of both clients, may change at any time.
"""

import json
from collections.abc import Mapping
from types import FunctionType
from typing import Any, Final

import httpx2
from msgspec import Struct
from openai import Omit

_MAX_HEADS: Final = 16  # of one client: one for each model with Azure, and for each key until it expires
_LENGTH: Final = "Content-Length"
_BUILDERS: Final = (httpx2.AsyncClient.build_request, httpx2.Client.build_request)


class RequestHeads:
    """The heads of the requests of one client of the SDK, by what they are made of."""

    def __init__(self) -> None:
        self._by_source: dict[tuple[Any, ...], _Head] = {}

    def build(self, sdk: Any, options: Any) -> httpx2.Request:
        """Return the request that ``sdk`` builds of ``options``, whose body is plain JSON."""
        source, content = _source_of(sdk, options), _content_of(options)
        head = None if source is None or content is None else self._by_source.get(source)
        if head is not None and content is not None:
            return head.request(content, options.timeout)
        request: httpx2.Request = sdk._build_request(options, retries_taken=0)
        if source is not None and content is not None and request.content == content:
            self._keep(source, request)
        return request

    def _keep(self, source: tuple[Any, ...], request: httpx2.Request) -> None:
        headers = request.headers.copy()
        if headers.raw[-1] != (_LENGTH.encode(), str(len(request.content)).encode()):  # a length that somebody has set
            return
        del headers[_LENGTH]
        if len(self._by_source) >= _MAX_HEADS:
            self._by_source.clear()
        self._by_source[source] = _Head(request.method, request.url, headers, dict(request.extensions))


class _Head(Struct, frozen=True):
    """All of a request but its body, the length of that, and the timeouts."""

    method: str
    url: httpx2.URL
    headers: httpx2.Headers
    extensions: dict[str, Any]

    def request(self, content: bytes, timeout: httpx2.Timeout) -> httpx2.Request:
        """Return a request with this head."""
        request = httpx2.Request(
            self.method,
            self.url,
            headers=self.headers,
            stream=httpx2.ByteStream(content),
            extensions={**self.extensions, "timeout": timeout.as_dict()},
        )
        request.headers.encoding = self.headers.encoding  # it would be found out again for each request
        request.headers[_LENGTH] = str(len(content))
        request.read()
        return request


def is_of_sdk(function: Any) -> bool:
    """Return whether ``function`` is of the SDK, and not what a subclass or an instrumentation has put in its place."""
    return type(function) is FunctionType and "openai" in function.__globals__["__name__"].partition(".")[0]


def _source_of(sdk: Any, options: Any) -> tuple[Any, ...] | None:
    """Return what determines the head of a request; ``None`` if something else may."""
    try:
        if _may_depend_on_more(sdk):
            return None
        source = (
            options.method,
            options.url,
            options.json_data.get("model"),
            options.timeout.read,
            _items(options.headers),
            _items(options.params),
            _items(sdk._auth_headers(options.security)),
            _items(sdk.default_headers),
            _items(sdk.default_query),
            *sdk._client.headers.raw,
        )
        hash(source)
    except (AttributeError, TypeError):  # parameters with lists, or another version of the SDK
        return None
    return source


def _may_depend_on_more(sdk: Any) -> bool:
    """Return whether a subclass, a hook, or the state of the HTTP client may change each request."""
    kind, http = type(sdk), sdk._client
    return (
        not (is_of_sdk(kind._build_request) and is_of_sdk(kind._build_headers))
        or not vars(sdk).keys().isdisjoint(("_build_request", "_build_headers"))
        or type(http).build_request not in _BUILDERS
        or "build_request" in vars(http)
        or sdk._idempotency_header is not None
        or bool(http.cookies)
        or bool(http.params)
    )


def _items(values: Any) -> tuple[tuple[Any, Any], ...]:
    if type(values) is not dict and not isinstance(values, Mapping):
        return ()
    return tuple((name, Omit if isinstance(value, Omit) else value) for name, value in values.items())


def _content_of(options: Any) -> bytes | None:
    """Return the body as the SDK encodes it, in compact JSON; ``None`` if that is not known.

    The first request of each head is compared with it.
    """
    data, extra = options.json_data, options.extra_json
    if type(data) is not dict or type(extra) is not dict or options.content is not None or options.files is not None:
        return None
    try:
        return json.dumps({**data, **extra}, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError):  # what the SDK converts, or refuses
        return None
