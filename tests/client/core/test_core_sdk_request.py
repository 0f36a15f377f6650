"""Requests that begin with a copy of earlier options: they are those that the SDK itself sends."""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

import httpx2
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI, OpenAI
from openai.resources.chat.completions import AsyncCompletions

from streamcanary import AsyncStreamClient, StreamClient
from support.client.user_clients import Keys, Signing

ANSWER = b'data: {"choices": [{"delta": {"content": "pong"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
MESSAGES = [{"role": "user", "content": "ping"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


class Recorder:
    """An HTTP transport that records requests, and answers them."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        """Answer ``request``."""
        self.requests.append(request)
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=ANSWER)

    @property
    def sent(self) -> list[Any]:
        """The requests: URL, headers and body."""
        return [
            (request.method, str(request.url), dict(request.headers.multi_items()) | ANY_LENGTH, body_of(request))
            for request in self.requests
        ]


ANY_LENGTH = {"content-length": "any"}  # the order of the members of a body is not the same


def body_of(request: httpx2.Request) -> Any:
    """Return the decoded body of ``request``."""
    return json.loads(request.content)


def async_http(recorder: Recorder) -> httpx2.AsyncClient:
    """Return an HTTP client that sends to ``recorder``."""
    return httpx2.AsyncClient(transport=httpx2.MockTransport(recorder))


def azure(recorder: Recorder, **options: Any) -> AsyncAzureOpenAI:
    """Return a client of Azure."""
    return AsyncAzureOpenAI(
        azure_endpoint="https://a.test", api_version="2024-10-21", http_client=async_http(recorder), **options
    )


CLIENTS: dict[str, Callable[[Recorder], AsyncOpenAI]] = {
    "plain": lambda recorder: AsyncOpenAI(
        base_url="https://p.test/v1", api_key="k", default_headers={"x-team": "a"}, http_client=async_http(recorder)
    ),
    "query": lambda recorder: AsyncOpenAI(
        base_url="https://p.test/v1", api_key="k", default_query={"v": "1"}, http_client=async_http(recorder)
    ),
    "http client with cookies and headers": lambda recorder: AsyncOpenAI(
        base_url="https://p.test/v1",
        api_key="k",
        http_client=httpx2.AsyncClient(
            transport=httpx2.MockTransport(recorder), headers={"x-edge": "1"}, cookies={"session": "1"}
        ),
    ),
    "key provider": lambda recorder: AsyncOpenAI(
        base_url="https://p.test/v1", api_key=Keys(), http_client=async_http(recorder)
    ),
    "subclass": lambda recorder: Signing(base_url="https://p.test/v1", api_key="k", http_client=async_http(recorder)),
    "azure": lambda recorder: azure(recorder, api_key="k"),
    "azure with tokens": lambda recorder: azure(recorder, azure_ad_token_provider=Keys()),
}

ARGUMENTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "scalars": {"max_completion_tokens": 64, "temperature": 0.5, "store": False, "user": None},
    "objects": {"tools": [TOOL], "response_format": {"type": "json_object"}, "stream_options": {"include_usage": True}},
    "other types": {"stop": ("a", "b"), "metadata": {"a": "b"}},
    "extra body": {"extra_body": {"model": "other", "top_k": 4}},
    "extra headers": {"extra_headers": {"x-trace": "1"}, "extra_query": {"q": "2"}},
}


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
@pytest.mark.parametrize("open_sdk", CLIENTS.values(), ids=CLIENTS)
async def test_every_request_is_what_the_sdk_sends(
    open_sdk: Callable[[Recorder], AsyncOpenAI], arguments: dict[str, Any]
) -> None:
    """The first request of a client, and each later one, is that of ``create`` with the same arguments."""
    expected, recorder = Recorder(), Recorder()
    sdk, client = open_sdk(expected), AsyncStreamClient(open_sdk(recorder))
    for text in ("one", "two", "three"):
        messages = [{"role": "user", "content": text}]
        async with sdk.chat.completions.with_streaming_response.create(
            model="m", messages=messages, stream=True, timeout=httpx2.Timeout(5, read=None), **arguments
        ):
            pass
        await client.complete(model="m", messages=messages, **arguments)
    assert expected.sent == recorder.sent


def test_every_request_of_a_synchronous_client_is_what_the_sdk_sends() -> None:
    """A synchronous client sends what the synchronous SDK sends."""
    expected, recorder = Recorder(), Recorder()
    sdk, other = (
        OpenAI(base_url="https://p.test/v1", api_key="k", http_client=httpx2.Client(transport=httpx2.MockTransport(to)))
        for to in (expected, recorder)
    )
    client = StreamClient(other)
    for _ in range(3):
        with sdk.chat.completions.with_streaming_response.create(model="m", messages=MESSAGES, stream=True):
            pass
        client.complete(model="m", messages=MESSAGES)
    ignored = {"x-stainless-read-timeout": ""}
    assert [(*start, headers | ignored, body) for *start, headers, body in expected.sent] == [
        (*start, headers | ignored, body) for *start, headers, body in recorder.sent
    ]


async def test_instrumentation_sees_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that an instrumentation has put in the place of ``create`` is called for each request."""
    calls: list[str] = []
    create = AsyncCompletions.create

    @wraps(create)
    async def instrumented(*positional: Any, **arguments: Any) -> Any:
        calls.append(arguments["model"])
        return await create(*positional, **arguments)

    monkeypatch.setattr(AsyncCompletions, "create", instrumented)
    client = AsyncStreamClient(CLIENTS["plain"](Recorder()))
    for model in ("first", "second"):
        await client.complete(model=model, messages=MESSAGES)
    assert ["first", "second"] == calls


async def test_overridden_request_is_called() -> None:
    """A subclass that overrides ``request`` or ``post`` of the SDK sees every request."""
    calls: list[str] = []

    class Logging(AsyncOpenAI):
        async def post(self, path: str, **options: Any) -> Any:
            calls.append(path)
            return await super().post(path, **options)

    client = AsyncStreamClient(Logging(base_url="https://p.test/v1", api_key="k", http_client=async_http(Recorder())))
    for _ in range(3):
        await client.complete(model="m", messages=MESSAGES)
    assert ["/chat/completions"] * 3 == calls


async def test_create_is_called_once_for_each_combination_of_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK builds the options of the first request only, also for clients that share a copy."""
    built: list[str] = []
    post = AsyncOpenAI.post

    async def counted(self: AsyncOpenAI, path: str, **options: Any) -> Any:
        built.append(path)
        return await post(self, path, **options)

    monkeypatch.setattr("openai._base_client.AsyncAPIClient.post", counted)
    client = AsyncStreamClient(CLIENTS["plain"](Recorder()))
    for temperature in (0.1, 0.2, 0.3):
        await client.complete(model="m", messages=MESSAGES, temperature=temperature)
        await client.complete(model="m", messages=MESSAGES)
    assert 2 == len(built)
