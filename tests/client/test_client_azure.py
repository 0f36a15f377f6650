"""Azure's clients as they are: where requests go, what they carry, and what telemetry tells of it."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI

from streamcanary import (
    AsyncStreamClient,
    NonStreaming,
    RetryPolicy,
    Route,
    StreamClient,
    StreamFailed,
    StreamResult,
)
from streamcanary.client.drivers.request_capture import capturing_async_client, capturing_sync_client
from streamcanary.model.faults import Blame, FaultKind
from support.client.drivers import CHAT_REQUEST, DRIVERS, Driver
from support.telemetry.in_memory import RecordedTelemetry

ENDPOINT = "https://example-resource.openai.azure.com"
VERSION = "2024-10-21"
KEY = "0123456789abcdef0123456789abcdef"
TOKEN = "eyJ0eXAiOiJKV1QifQ.eyJvaWQiOiJub2JvZHkifQ.c2lnbmF0dXJl"
TO_CHAT = f"{ENDPOINT}/openai/deployments/prod-4o/chat/completions"
RETRY = RetryPolicy(max_attempts=2, base_delay=0.001, max_delay=0.001)

EVENTS = (
    b'data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}\n\n'
    b'data: {"choices":[{"delta":{"content":"","role":"assistant"},"finish_reason":null,"index":0}],'
    b'"created":1729000000,"id":"chatcmpl-1","model":"gpt-4o-2024-08-06","object":"chat.completion.chunk"}\n\n'
    b'data: {"choices":[{"content_filter_results":{"hate":{"filtered":false}},"delta":{"content":"Pong"},'
    b'"finish_reason":null,"index":0}],"id":"chatcmpl-1","model":"gpt-4o-2024-08-06"}\n\n'
    b'data: {"choices":[{"delta":{},"finish_reason":"stop","index":0}],"id":"chatcmpl-1","model":"gpt-4o-2024-08-06"}'
    b"\n\ndata: [DONE]\n\n"
)
"""A stream as Azure sends it: the filter's word on the prompt comes first, with an empty id and model."""
FILTERED = {
    "error": {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}},
    }
}
UNKNOWN = {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}}

every_driver = pytest.mark.parametrize("driver", DRIVERS)
Handler = Callable[[httpx2.Request], httpx2.Response]


class Azure:
    """Stands for the service: answers every request with ``answer``, and keeps what it saw."""

    def __init__(self, *answers: Handler) -> None:
        self._answers = list(answers)
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return (self._answers.pop(0) if self._answers else streamed)(request)

    @property
    def urls(self) -> list[str]:
        return [str(request.url) for request in self.requests]


def streamed(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, headers={"content-type": "text/event-stream", "x-request-id": "r1"}, content=EVENTS)


def refused(status: int, body: object, **headers: str) -> Handler:
    return lambda request: httpx2.Response(
        status, json=body, headers={k.replace("_", "-"): headers[k] for k in headers}
    )


def sdk(driver: Driver, azure: Azure, **options: Any) -> AsyncAzureOpenAI | AzureOpenAI:
    options = {"azure_endpoint": ENDPOINT, "azure_deployment": "prod-4o", "api_version": VERSION, **options}
    if "azure_ad_token_provider" not in options and "azure_ad_token" not in options:
        options["api_key"] = KEY
    transport = httpx2.MockTransport(azure)
    if driver == "async":
        return AsyncAzureOpenAI(http_client=httpx2.AsyncClient(transport=transport), **options)
    return AzureOpenAI(http_client=httpx2.Client(transport=transport), **options)


async def complete(client: AsyncOpenAI | OpenAI, *, model: str = "gpt-4o", **options: Any) -> StreamResult:
    question = options.pop("question", CHAT_REQUEST)
    if isinstance(client, AsyncOpenAI):
        return await AsyncStreamClient(client, retry=RETRY, **options).complete(model=model, **question)
    synchronous = StreamClient(client, retry=RETRY, **options)
    return await asyncio.to_thread(synchronous.complete, model=model, **question)


def attempts(recorded: RecordedTelemetry) -> list[dict[str, Any]]:
    return [dict(span.attributes or {}) for span in recorded.spans if span.name == "POST"]


@every_driver
async def test_a_deployment_answers(driver: Driver, recorded: RecordedTelemetry) -> None:
    """The request goes to the deployment, with the API's version and the key in its header, and nowhere else."""
    azure = Azure()
    result = await complete(sdk(driver, azure))
    (request,) = azure.requests
    assert (f"{TO_CHAT}?api-version={VERSION}", KEY, None) == (
        str(request.url),
        request.headers["api-key"],
        request.headers.get("authorization"),
    )
    assert ("Pong", "stop", "gpt-4o-2024-08-06", "r1", "chatcmpl-1", ["gpt-4o"]) == (
        result.text,
        result.finish_reason,
        result.model,
        result.request_id,
        result.response_id,
        [attempt.route for attempt in result.attempts],
    )
    (attempt,) = attempts(recorded)
    assert (TO_CHAT, "example-resource.openai.azure.com", 443) == (
        attempt["url.full"],
        attempt["server.address"],
        attempt["server.port"],
    )


@every_driver
async def test_without_a_deployment_the_model_is_one(driver: Driver, recorded: RecordedTelemetry) -> None:
    """Where the client names no deployment the SDK takes the model for it, and the span tells the real address."""
    azure = Azure(streamed, refused(404, UNKNOWN))
    client = sdk(driver, azure, azure_deployment=None)
    await complete(client)
    with pytest.raises(StreamFailed) as caught:
        await complete(client, model="gone")
    shown = [f"{ENDPOINT}/openai/deployments/{model}/chat/completions" for model in ("gpt-4o", "gone")]
    assert [f"{url}?api-version={VERSION}" for url in shown] == azure.urls
    assert shown == [attempt["url.full"] for attempt in attempts(recorded)]
    assert FaultKind.NOT_FOUND is caught.value.fault.kind


@every_driver
async def test_responses_have_no_deployment(driver: Driver, recorded: RecordedTelemetry) -> None:
    """The Responses API lies beside the deployments: it is asked there, and the span of a failure says so too."""
    azure = Azure(refused(401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key."}}))
    with pytest.raises(StreamFailed) as caught:
        await complete(sdk(driver, azure), question={"input": "Reply with the single word pong."})
    assert FaultKind.AUTH_FAILED is caught.value.fault.kind
    assert [f"{ENDPOINT}/openai/responses?api-version={VERSION}"] == azure.urls
    assert [f"{ENDPOINT}/openai/responses"] == [attempt["url.full"] for attempt in attempts(recorded)]


@every_driver
async def test_a_token_is_asked_for_at_each_attempt(driver: Driver) -> None:
    """A token provider is asked before each request, so that a token that has expired in between is a new one."""
    given: list[str] = []

    def token() -> str:
        given.append(f"{TOKEN}{len(given)}")
        return given[-1]

    azure = Azure(refused(503, {"error": {"message": "busy"}}))
    result = await complete(sdk(driver, azure, azure_ad_token_provider=token))
    assert ("Pong", 2) == (result.text, len(result.attempts))
    assert [f"Bearer {TOKEN}0", f"Bearer {TOKEN}1"] == [request.headers["authorization"] for request in azure.requests]
    assert [None, None] == [request.headers.get("api-key") for request in azure.requests]


async def test_a_token_may_be_awaited() -> None:
    """The asynchronous client takes a coroutine function for a provider."""

    async def token() -> str:
        await asyncio.sleep(0)
        return TOKEN

    azure = Azure()
    await complete(sdk("async", azure, azure_ad_token_provider=token))
    assert f"Bearer {TOKEN}" == azure.requests[0].headers["authorization"]


class ClientAuthenticationError(Exception):
    """What ``azure.identity`` raises when it gets no token, by its name; the package itself is not ours."""


@every_driver
async def test_no_token_is_to_be_had(driver: Driver) -> None:
    """A provider that cannot give a token is auth_failed, blamed on the configuration; nothing is sent."""

    def token() -> str:
        raise ClientAuthenticationError("DefaultAzureCredential failed to retrieve a token")

    azure = Azure()
    with pytest.raises(StreamFailed) as caught:
        await complete(sdk(driver, azure, azure_ad_token_provider=token))
    fault = caught.value.fault
    assert (FaultKind.AUTH_FAILED, Blame.CONFIG, []) == (fault.kind, fault.blame, azure.requests)
    assert "failed to retrieve a token" in fault.message


@every_driver
@pytest.mark.parametrize("credential", ["key", "token", "provider"])
@pytest.mark.parametrize("where", ["status", "stream"])
async def test_no_credential_is_shown(driver: Driver, recorded: RecordedTelemetry, credential: str, where: str) -> None:
    """A server that repeats what it was sent does not bring it into a message, a span or an address."""

    def repeat(request: httpx2.Request) -> httpx2.Response:
        sent = request.headers.get("api-key") or request.headers["authorization"].removeprefix("Bearer ")
        error = {"error": {"code": "401", "message": f"the credential {sent} is not known here"}}
        if where == "status":
            return httpx2.Response(401, json=error)
        return httpx2.Response(
            200,
            headers={"content-type": "text/event-stream"},
            content=b"data: " + httpx2.Response(200, json=error).content + b"\n\n",
        )

    given = {"token": {"azure_ad_token": TOKEN}, "provider": {"azure_ad_token_provider": lambda: TOKEN}, "key": {}}
    client = sdk(driver, Azure(repeat), default_query={"code": KEY}, **given[credential])
    with pytest.raises(StreamFailed) as caught:
        await complete(client)
    told = [str(caught.value), repr(caught.value.attempts), *(span.to_json() for span in recorded.spans)]
    assert "is not known here" in caught.value.fault.message
    assert [] == [text for text in told if KEY in text or TOKEN in text]


@every_driver
async def test_its_filter_is_a_content_policy(driver: Driver) -> None:
    """What the content management policy refuses is no mistake of the request, and not put to another route."""
    azure = Azure(refused(400, FILTERED))
    with pytest.raises(StreamFailed) as caught:
        await complete(sdk(driver, azure), fallbacks=[Route(model="other"), NonStreaming()])
    assert (FaultKind.CONTENT_POLICY, Blame.CONTENT, 1) == (
        caught.value.fault.kind,
        caught.value.fault.blame,
        len(azure.requests),
    )


@every_driver
async def test_its_wait_is_kept(driver: Driver) -> None:
    """A 429 says how long to wait in milliseconds, beside whole seconds."""
    busy = refused(429, {"error": {"code": "429", "message": "slow down"}}, retry_after_ms="30", retry_after="1")
    result = await complete(sdk(driver, Azure(busy)))
    assert [0.0, 0.03] == [attempt.delay for attempt in result.attempts]


@every_driver
async def test_a_fallback_in_another_region(driver: Driver, recorded: RecordedTelemetry) -> None:
    """A route may be another resource; each attempt's span has the address that it went to, a failed one too."""
    east, west = Azure(refused(401, UNKNOWN)), Azure(refused(404, UNKNOWN))
    elsewhere = sdk(driver, west, azure_endpoint="https://west.openai.azure.com:8443", azure_deployment="spare")
    with pytest.raises(StreamFailed) as caught:
        await complete(sdk(driver, east), fallbacks=[Route(client=elsewhere, name="west")])
    assert ["gpt-4o", "west"] == [attempt.route for attempt in caught.value.attempts]
    spare = "https://west.openai.azure.com:8443/openai/deployments/spare/chat/completions"
    assert [
        (TO_CHAT, "example-resource.openai.azure.com", 443),
        (spare, "west.openai.azure.com", 8443),
    ] == [(each["url.full"], each["server.address"], each["server.port"]) for each in attempts(recorded)]


@every_driver
async def test_a_fallback_to_no_address(driver: Driver) -> None:
    """A port that does not exist is a fault like others, also where it is a fallback's."""
    nowhere: Any = AsyncOpenAI if driver == "async" else OpenAI
    route = Route(client=nowhere(base_url="http://127.0.0.1:99999/v1", api_key="sk-x"))
    with pytest.raises(StreamFailed) as caught:
        await complete(sdk(driver, Azure(refused(401, UNKNOWN))), fallbacks=[route])
    assert FaultKind.INVALID_REQUEST is caught.value.fault.kind


def test_a_copy_keeps_what_is_azures() -> None:
    """The copy that does not retry by itself has the endpoint, deployment, version, credentials, and transport."""

    def token() -> str:
        return TOKEN

    kept = ("_azure_endpoint", "_azure_deployment", "_api_version", "_azure_ad_token_provider", "base_url", "_client")
    for driver, watched in (("async", capturing_async_client), ("sync", capturing_sync_client)):
        original: Any = sdk(driver, Azure(), azure_ad_token_provider=token)
        copy: Any = watched(original)
        assert [getattr(original, name) for name in kept] == [getattr(copy, name) for name in kept]
        assert (type(original), 0, 2) == (type(copy), copy.max_retries, original.max_retries)
