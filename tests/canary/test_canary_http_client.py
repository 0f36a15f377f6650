"""The HTTP client of canaries builds the requests that any client of ``httpx2`` builds."""

import ssl
from typing import Any

import httpx2
import pytest
from openai import DefaultAsyncHttpxClient

from streamcanary.canary.targets.openai_client import open_http_client

URL = "https://a.test/v1/chat/completions?v=1"
HEADERS = [("Authorization", "Bearer k"), ("accept", "application/json"), ("user-agent", "SDK/1")]
TIMEOUT = httpx2.Timeout(5, read=None)


@pytest.mark.parametrize(
    "options",
    [
        {"url": URL, "content": b"{}", "headers": HEADERS, "timeout": TIMEOUT},
        {"url": URL, "content": b"{}", "headers": [*HEADERS, ("accept-encoding", "gzip")], "timeout": TIMEOUT},
        {"url": URL, "content": b"{}", "headers": [("x-a", "1"), ("X-A", "2")], "timeout": TIMEOUT},
        {"url": URL, "content": b"{}", "headers": HEADERS, "timeout": TIMEOUT, "params": {"q": "1"}, "files": None},
        {"url": URL, "content": b"{}", "headers": HEADERS, "timeout": TIMEOUT, "extensions": {"a": 1}},
        {"url": URL, "content": None, "headers": HEADERS, "timeout": TIMEOUT},
        {"url": httpx2.URL(URL), "content": b"{}", "headers": dict(HEADERS)},
        {"url": URL, "json": {"a": 1}},
    ],
)
@pytest.mark.parametrize("cookies", [{}, {"session": "1"}])
async def test_requests_are_those_of_httpx(options: dict[str, Any], cookies: dict[str, str]) -> None:
    """A request has the same address, headers, body and extensions, with any options."""
    built = []
    expected = DefaultAsyncHttpxClient(trust_env=False, headers={"Accept-Encoding": "identity"})
    for client in (expected, open_http_client(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), None)):
        client.cookies.update(cookies)
        async with client:
            built.append(client.build_request("post", **options))
    theirs, ours = (
        (request.method, str(request.url), request.headers.raw, request.content, request.extensions)
        for request in built
    )
    assert theirs == ours


async def test_header_that_is_not_ascii_is_refused() -> None:
    """A header that cannot be sent is an error, as with any client."""
    async with open_http_client(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), None) as client:
        with pytest.raises(UnicodeEncodeError):
            client.build_request("POST", URL, content=b"{}", headers=[("x-a", "ä")], timeout=TIMEOUT)


async def test_relative_address_is_that_of_httpx() -> None:
    """An address without a scheme, which no transport sends, is kept as any client keeps it."""
    async with open_http_client(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), None) as client:
        request = client.build_request("POST", "v1/chat", content=b"{}", headers=HEADERS, timeout=TIMEOUT)
    assert "/v1/chat" == str(request.url)
