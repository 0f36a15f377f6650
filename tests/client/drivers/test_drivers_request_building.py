"""Requests that begin with the head of an earlier one: they are those that the HTTP client itself builds."""

from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient
from openai._models import FinalRequestOptions

from streamcanary.client.drivers.request_building import RequestBuilder, keep_heads

URL = "https://a.test/v1/chat/completions?v=1"
HEADERS = [("Authorization", "Bearer k"), ("accept", "application/json"), ("user-agent", "SDK/1")]
TIMEOUT = httpx2.Timeout(5, read=None)
OTHER = httpx2.Timeout(7, read=None)
USUAL: dict[str, Any] = {"url": URL, "content": b"{}", "headers": HEADERS, "timeout": TIMEOUT}


def new_client(**options: Any) -> httpx2.AsyncClient:
    """Return an HTTP client with a header of its own."""
    return DefaultAsyncHttpxClient(trust_env=False, headers={"Accept-Encoding": "identity"}, **options)


def parts(request: httpx2.Request) -> tuple[Any, ...]:
    """Return what makes up ``request``."""
    return request.method, str(request.url), request.headers.raw, request.content, request.extensions


@pytest.mark.parametrize(
    "options",
    [
        USUAL,
        USUAL | {"headers": [*HEADERS, ("accept-encoding", "gzip")]},
        USUAL | {"headers": [("x-a", "1"), ("X-A", "2")]},
        USUAL | {"headers": [*HEADERS, ("content-length", "2")]},
        USUAL | {"headers": [*HEADERS, ("Host", "b.test")]},
        USUAL | {"params": {"q": "1"}, "files": None},
        USUAL | {"extensions": {"a": 1}},
        USUAL | {"content": None},
        USUAL | {"content": b""},
        USUAL | {"timeout": None},
        {"url": httpx2.URL(URL), "content": b"{}", "headers": dict(HEADERS)},
        {"url": URL, "json": {"a": 1}},
    ],
)
@pytest.mark.parametrize("client_options", [{}, {"cookies": {"session": "1"}}, {"params": {"p": "1"}}])
async def test_requests_are_those_of_httpx(options: dict[str, Any], client_options: dict[str, Any]) -> None:
    """Each of several requests has the same address, headers, body and extensions, with any options."""
    async with new_client(**client_options) as client:
        builder = RequestBuilder(client)
        for _ in range(3):
            assert parts(client.build_request("post", **options)) == parts(builder.build_request("post", **options))


@pytest.mark.parametrize(
    "change",
    [
        {"content": b'{"longer": 1}'},
        {"headers": [("Authorization", "Bearer another"), *HEADERS[1:]]},
        {"url": "https://b.test/v1/responses"},
        {"timeout": OTHER},
    ],
)
async def test_each_request_has_its_own_values(change: dict[str, Any]) -> None:
    """What differs from the request before is that of the new one, and the one before stays as it was."""
    async with new_client() as client:
        builder = RequestBuilder(client)
        built = [builder.build_request("post", **options) for options in (USUAL, USUAL, USUAL | change, USUAL)]
        expected = [client.build_request("post", **options) for options in (USUAL, USUAL, USUAL | change, USUAL)]
    assert [parts(request) for request in expected] == [parts(request) for request in built]


async def test_changed_header_of_the_client_is_sent() -> None:
    """A default header of the HTTP client may change at any time."""
    async with new_client() as client:
        builder = RequestBuilder(client)
        for number in ("1", "1", "2"):
            client.headers["x-number"] = number
            assert number == builder.build_request("post", **USUAL).headers["x-number"]


async def test_cookie_of_a_response_is_sent() -> None:
    """A cookie that a server sets is in the next request."""
    async with new_client() as client:
        builder = RequestBuilder(client)
        for _ in range(2):
            builder.build_request("post", **USUAL)
        client.cookies.set("session", "1", domain="a.test")
        assert "session=1" == builder.build_request("post", **USUAL).headers["cookie"]


async def test_changed_request_does_not_change_the_next() -> None:
    """A hook that adds a header to a request does not add it to others."""
    async with new_client() as client:
        builder = RequestBuilder(client)
        for _ in range(3):
            request = builder.build_request("post", **USUAL)
            assert "x-hook" not in request.headers
            request.headers["x-hook"] = "1"


async def test_header_that_is_not_ascii_is_refused() -> None:
    """A header that cannot be sent is an error, as with any client."""
    async with new_client() as client:
        with pytest.raises(UnicodeEncodeError):
            RequestBuilder(client).build_request("POST", URL, content=b"{}", headers=[("x-a", "ä")], timeout=TIMEOUT)


async def test_relative_address_is_that_of_httpx() -> None:
    """An address without a scheme, which no transport sends, is kept as any client keeps it."""
    async with new_client() as client:
        builder = RequestBuilder(client)
        for _ in range(2):
            assert "/v1/chat" == str(builder.build_request("post", **USUAL | {"url": "v1/chat"}).url)


async def test_many_different_heads_are_not_all_kept() -> None:
    """Headers that change with each request take no more memory with each."""
    async with new_client() as client:
        builder = RequestBuilder(client)
        for number in range(100):
            builder.build_request("post", **USUAL | {"headers": [("x-number", str(number))]})
        assert 16 >= len(builder._heads)


async def test_the_builder_stands_for_the_client() -> None:
    """It is an instance of the client's class, with all of its attributes."""
    client = new_client()
    builder: Any = RequestBuilder(client)
    assert isinstance(builder, DefaultAsyncHttpxClient)
    assert client.timeout == builder.timeout
    await builder.aclose()
    assert client.is_closed


async def test_copies_of_the_sdk_build_with_kept_heads() -> None:
    """The HTTP client of the SDK builds the first of several requests, and no other."""
    built: list[str] = []
    client = new_client()
    sdk = AsyncOpenAI(base_url="https://a.test/v1", api_key="k", http_client=client)
    keep_heads(sdk)

    def build(method: str, url: str, **options: Any) -> httpx2.Request:
        built.append(url)
        return httpx2.AsyncClient.build_request(client, method, url, **options)

    client.build_request = build  # type: ignore[method-assign, assignment] # after the class was checked
    for number in range(3):
        options = FinalRequestOptions(method="post", url="/x", json_data={"n": number}, timeout=TIMEOUT)
        assert b'{"n":%d}' % number == sdk._build_request(options).content
    await sdk.close()
    assert ["https://a.test/v1/x"] == built


async def test_overridden_build_request_is_called() -> None:
    """An HTTP client of a user that overrides ``build_request`` builds every request."""

    class Own(httpx2.AsyncClient):
        def build_request(self, *arguments: Any, **options: Any) -> httpx2.Request:
            return super().build_request(*arguments, **options)

    async with Own() as client:
        sdk = AsyncOpenAI(api_key="k", http_client=client)
        keep_heads(sdk)
        assert client is sdk._client


def test_synchronous_requests_are_those_of_httpx() -> None:
    """So are those of a synchronous client."""
    with DefaultHttpxClient(trust_env=False) as client:
        builder = RequestBuilder(client)
        for _ in range(2):
            assert parts(client.build_request("post", **USUAL)) == parts(builder.build_request("post", **USUAL))
