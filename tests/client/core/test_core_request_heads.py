"""Requests with the head of an earlier one: they are those that the SDK and its HTTP client build."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI, Omit, OpenAI
from openai._models import FinalRequestOptions

from streamcanary.client.core.request_heads import RequestHeads
from support.client.user_clients import Keys, Signing

TIMEOUT = httpx2.Timeout(5, read=None)


class Counting(httpx2.AsyncClient):
    """An HTTP client of a user that changes each request."""

    def build_request(self, *arguments: Any, **options: Any) -> httpx2.Request:
        """Build a request with a header of its own."""
        request = super().build_request(*arguments, **options)
        request.headers["x-length"] = str(len(request.content))
        return request


def plain(**options: Any) -> AsyncOpenAI:
    """Return a client of OpenAI."""
    return AsyncOpenAI(**{"base_url": "https://p.test/v1", "api_key": "k", **options})


CLIENTS: dict[str, Callable[[], Any]] = {
    "plain": plain,
    "headers": lambda: plain(default_headers={"x-team": "a", "Accept": Omit()}, organization="o", project="p"),
    "own length": lambda: plain(default_headers={"Content-Length": "2"}),
    "other content type": lambda: plain(default_headers={"Content-Type": "application/x-json"}),
    "query": lambda: plain(default_query={"v": "1"}),
    "query with a list": lambda: plain(default_query={"v": ["1", "2"]}),
    "http client": lambda: plain(http_client=httpx2.AsyncClient(headers={"x-edge": "1"}, params={"p": "1"})),
    "cookies": lambda: plain(http_client=httpx2.AsyncClient(cookies={"session": "1"})),
    "other http client": lambda: plain(http_client=Counting()),
    "subclass": lambda: Signing(base_url="https://p.test/v1", api_key="k"),
    "azure": lambda: AsyncAzureOpenAI(azure_endpoint="https://a.test", api_version="2024-10-21", api_key="k"),
    "synchronous": lambda: OpenAI(base_url="https://p.test/v1", api_key="k"),
}
BODIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "longer": {"extra_json": {"messages": [{"role": "user", "content": "Zähle: 😀"}]}},
    "another model": {"json_data": {"model": "n", "messages": []}},
    "tokens": {"json_data": {"model": "m", "messages": [], "max_completion_tokens": 64, "temperature": 0.5}},
    "objects of the SDK": {"extra_json": {"messages": [], "user": Omit()}},
    "another timeout": {"timeout": httpx2.Timeout(7, read=3)},
    "another header": {"headers": {"x-trace": "1"}},
    "another parameter": {"params": {"q": "1"}},
}


def options_of(**changes: Any) -> FinalRequestOptions:
    """Return the options of a usual request, with ``changes``."""
    usual = {
        "method": "post",
        "url": "/chat/completions",
        "json_data": {"model": "m", "messages": []},
        "extra_json": {"messages": [{"role": "user", "content": "ping"}]},
        "timeout": TIMEOUT,
    }
    return FinalRequestOptions.construct(**{**usual, **changes})


def parts(request: httpx2.Request) -> tuple[Any, ...]:
    """Return what makes up ``request``."""
    return request.method, str(request.url), request.headers.raw, request.content, request.extensions


@pytest.mark.parametrize("changes", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("open_sdk", CLIENTS.values(), ids=CLIENTS)
def test_requests_are_those_of_the_sdk(open_sdk: Callable[[], Any], changes: dict[str, Any]) -> None:
    """Each of several requests has the same address, headers, body and extensions, whatever came before."""
    sdk, heads = open_sdk(), RequestHeads()
    for each in ({}, changes, changes, {}):
        assert parts(sdk._build_request(options_of(**each))) == parts(heads.build(sdk, options_of(**each)))


class Built:
    """Counts the requests that the SDK builds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        build = httpx2.Request._prepare

        def prepare(request: httpx2.Request, headers: dict[str, str]) -> None:
            self.count += 1
            build(request, headers)

        monkeypatch.setattr(httpx2.Request, "_prepare", prepare)


@pytest.mark.parametrize("name", ["plain", "headers", "query", "azure", "synchronous"])
def test_the_sdk_builds_the_first_request(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later ones that differ in their bodies are not built by it."""
    sdk, heads, built = CLIENTS[name](), RequestHeads(), Built(monkeypatch)
    for text in ("one", "two", "three"):
        heads.build(sdk, options_of(extra_json={"messages": [{"role": "user", "content": text}]}))
    assert 1 == built.count


@pytest.mark.parametrize("name", ["subclass", "other http client", "cookies", "query with a list"])
def test_what_may_depend_on_more_is_built_by_the_sdk(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overridden methods, cookies, and parameters that cannot be compared take the way of the SDK each time."""
    sdk, heads, built = CLIENTS[name](), RequestHeads(), Built(monkeypatch)
    for _ in range(3):
        heads.build(sdk, options_of())
    assert 3 == built.count


def test_method_that_is_replaced_on_a_client_is_called() -> None:
    """A hook that replaces ``_build_request`` of one client sees every request."""
    sdk, heads, seen = plain(), RequestHeads(), []
    heads.build(sdk, options_of())
    build = sdk._build_request

    def hook(options: Any, **more: Any) -> httpx2.Request:
        seen.append(options.url)
        return build(options, **more)

    sdk._build_request = hook  # type: ignore[method-assign]
    for _ in range(2):
        heads.build(sdk, options_of())
    assert ["/chat/completions"] * 2 == seen


async def test_each_key_is_sent() -> None:
    """A key that a provider of keys changes is in the request after that."""
    sdk, heads = plain(api_key=Keys()), RequestHeads()
    sent = []
    for _ in range(3):
        options = await sdk._prepare_options(options_of())
        sent.append(heads.build(sdk, options).headers["authorization"])
    assert [f"Bearer key-number-{number}" for number in (1, 2, 3)] == sent


def test_changed_header_of_the_http_client_is_sent() -> None:
    """A default header of the HTTP client may change at any time."""
    http = httpx2.AsyncClient()
    sdk, heads = plain(http_client=http), RequestHeads()
    for number in ("1", "1", "2"):
        http.headers["x-number"] = number
        assert number == heads.build(sdk, options_of()).headers["x-number"]


def test_cookie_of_a_response_is_sent() -> None:
    """A cookie that a server sets is in the next request."""
    http = httpx2.AsyncClient()
    sdk, heads = plain(http_client=http), RequestHeads()
    for _ in range(2):
        heads.build(sdk, options_of())
    http.cookies.set("session", "1", domain="p.test")
    assert "session=1" == heads.build(sdk, options_of()).headers["cookie"]


def test_changed_request_does_not_change_the_next() -> None:
    """A hook that adds a header to a request does not add it to others."""
    sdk, heads = plain(), RequestHeads()
    for _ in range(3):
        request = heads.build(sdk, options_of())
        assert "x-hook" not in request.headers
        request.headers["x-hook"] = "1"


def test_many_different_heads_are_not_all_kept() -> None:
    """Headers that change with each request take no more memory with each."""
    sdk, heads = plain(), RequestHeads()
    for number in range(100):
        heads.build(sdk, options_of(headers={"x-number": str(number)}))
    assert 16 >= len(heads._by_source)


def test_body_that_the_sdk_encodes_in_another_way_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of the SDK may encode JSON otherwise: then it builds every request."""
    monkeypatch.setattr("openai._base_client.openapi_dumps", lambda body: b"{ }")
    sdk, heads, built = plain(), RequestHeads(), Built(monkeypatch)
    for _ in range(2):
        assert b"{ }" == heads.build(sdk, options_of()).content
    assert 2 == built.count
