"""Azure clients: request addresses, credentials, and telemetry."""

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
"""A stream as Azure sends it: the content filter result of the prompt comes first, with an empty id and model."""
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


class FakeAzure:
    """A fake of the service that answers each request with the next handler, and records the requests."""

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


def sdk(driver: Driver, azure: FakeAzure, **options: Any) -> AsyncAzureOpenAI | AzureOpenAI:
    options = {"azure_endpoint": ENDPOINT, "azure_deployment": "prod-4o", "api_version": VERSION, **options}
    if "azure_ad_token_provider" not in options and "azure_ad_token" not in options:
        options["api_key"] = KEY
    transport = httpx2.MockTransport(azure)
    if driver == "async":
        return AsyncAzureOpenAI(http_client=httpx2.AsyncClient(transport=transport), **options)
    return AzureOpenAI(http_client=httpx2.Client(transport=transport), **options)


async def complete(client: AsyncOpenAI | OpenAI, *, model: str = "gpt-4o", **options: Any) -> StreamResult:
    request_arguments = options.pop("request_arguments", CHAT_REQUEST)
    if isinstance(client, AsyncOpenAI):
        return await AsyncStreamClient(client, retry=RETRY, **options).complete(model=model, **request_arguments)
    synchronous = StreamClient(client, retry=RETRY, **options)
    return await asyncio.to_thread(synchronous.complete, model=model, **request_arguments)


def attempts(recorded: RecordedTelemetry) -> list[dict[str, Any]]:
    return [dict(span.attributes or {}) for span in recorded.spans if span.name == "POST"]


@every_driver
async def test_request_goes_to_the_deployment(driver: Driver, recorded: RecordedTelemetry) -> None:
    """The request goes to the deployment with the API version, and the key is only in its header."""
    azure = FakeAzure()
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
async def test_model_is_the_default_deployment(driver: Driver, recorded: RecordedTelemetry) -> None:
    """Without a deployment the SDK uses the model as deployment, and the span has the actual URL."""
    azure = FakeAzure(streamed, refused(404, UNKNOWN))
    client = sdk(driver, azure, azure_deployment=None)
    await complete(client)
    with pytest.raises(StreamFailed) as caught:
        await complete(client, model="gone")
    shown = [f"{ENDPOINT}/openai/deployments/{model}/chat/completions" for model in ("gpt-4o", "gone")]
    assert [f"{url}?api-version={VERSION}" for url in shown] == azure.urls
    assert shown == [attempt["url.full"] for attempt in attempts(recorded)]
    assert FaultKind.NOT_FOUND is caught.value.fault.kind


@every_driver
async def test_responses_url_has_no_deployment(driver: Driver, recorded: RecordedTelemetry) -> None:
    """A Responses request goes to a URL without a deployment, and the span of a failure has that URL."""
    azure = FakeAzure(
        refused(401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key."}})
    )
    with pytest.raises(StreamFailed) as caught:
        await complete(sdk(driver, azure), request_arguments={"input": "Reply with the single word pong."})
    assert FaultKind.AUTH_FAILED is caught.value.fault.kind
    assert [f"{ENDPOINT}/openai/responses?api-version={VERSION}"] == azure.urls
    assert [f"{ENDPOINT}/openai/responses"] == [attempt["url.full"] for attempt in attempts(recorded)]


@every_driver
async def test_token_is_requested_for_each_attempt(driver: Driver) -> None:
    """The token provider is called before each request, so that an expired token is replaced."""
    given: list[str] = []

    def token() -> str:
        given.append(f"{TOKEN}{len(given)}")
        return given[-1]

    azure = FakeAzure(refused(503, {"error": {"message": "busy"}}))
    result = await complete(sdk(driver, azure, azure_ad_token_provider=token))
    assert ("Pong", 2) == (result.text, len(result.attempts))
    assert [f"Bearer {TOKEN}0", f"Bearer {TOKEN}1"] == [request.headers["authorization"] for request in azure.requests]
    assert [None, None] == [request.headers.get("api-key") for request in azure.requests]


async def test_token_provider_may_be_async() -> None:
    """The async client accepts a coroutine function as token provider."""

    async def token() -> str:
        await asyncio.sleep(0)
        return TOKEN

    azure = FakeAzure()
    await complete(sdk("async", azure, azure_ad_token_provider=token))
    assert f"Bearer {TOKEN}" == azure.requests[0].headers["authorization"]


class ClientAuthenticationError(Exception):
    """The error that ``azure.identity`` raises without a token, by name only; the package is no dependency."""


@every_driver
async def test_failing_token_provider_is_auth_failed(driver: Driver) -> None:
    """A failing token provider is auth_failed with blame config, and no request is sent."""

    def token() -> str:
        raise ClientAuthenticationError("DefaultAzureCredential failed to retrieve a token")

    azure = FakeAzure()
    with pytest.raises(StreamFailed) as caught:
        await complete(sdk(driver, azure, azure_ad_token_provider=token))
    fault = caught.value.fault
    assert (FaultKind.AUTH_FAILED, Blame.CONFIG, []) == (fault.kind, fault.blame, azure.requests)
    assert "failed to retrieve a token" in fault.message


@every_driver
@pytest.mark.parametrize("credential", ["key", "token", "provider"])
@pytest.mark.parametrize("where", ["status", "stream"])
async def test_repeated_credential_is_scrubbed(
    driver: Driver, recorded: RecordedTelemetry, credential: str, where: str
) -> None:
    """A credential that the server repeats appears in no message, span or URL."""

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
    client = sdk(driver, FakeAzure(repeat), default_query={"code": KEY}, **given[credential])
    with pytest.raises(StreamFailed) as caught:
        await complete(client)
    texts = [str(caught.value), repr(caught.value.attempts), *(span.to_json() for span in recorded.spans)]
    assert "is not known here" in caught.value.fault.message
    assert [] == [text for text in texts if KEY in text or TOKEN in text]


@every_driver
async def test_content_filter_is_content_policy(driver: Driver) -> None:
    """A request refused by the content filter is content_policy, and is sent to no fallback."""
    azure = FakeAzure(refused(400, FILTERED))
    with pytest.raises(StreamFailed) as caught:
        await complete(sdk(driver, azure), fallbacks=[Route(model="other"), NonStreaming()])
    assert (FaultKind.CONTENT_POLICY, Blame.CONTENT, 1) == (
        caught.value.fault.kind,
        caught.value.fault.blame,
        len(azure.requests),
    )


@every_driver
async def test_retry_after_ms_is_respected(driver: Driver) -> None:
    """The delay that a 429 requests in milliseconds takes precedence over whole seconds."""
    busy = refused(429, {"error": {"code": "429", "message": "slow down"}}, retry_after_ms="30", retry_after="1")
    result = await complete(sdk(driver, FakeAzure(busy)))
    assert [0.0, 0.03] == [attempt.delay for attempt in result.attempts]


@every_driver
async def test_fallback_may_be_another_resource(driver: Driver, recorded: RecordedTelemetry) -> None:
    """A route may be another resource, and each attempt span has the URL that it called, also after a fault."""
    east, west = FakeAzure(refused(401, UNKNOWN)), FakeAzure(refused(404, UNKNOWN))
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
async def test_fallback_with_invalid_port_is_invalid_request(driver: Driver) -> None:
    """A fallback with an invalid port is the fault invalid_request."""
    nowhere: Any = AsyncOpenAI if driver == "async" else OpenAI
    route = Route(client=nowhere(base_url="http://127.0.0.1:99999/v1", api_key="sk-x"))
    with pytest.raises(StreamFailed) as caught:
        await complete(sdk(driver, FakeAzure(refused(401, UNKNOWN))), fallbacks=[route])
    assert FaultKind.INVALID_REQUEST is caught.value.fault.kind


def test_sdk_copy_keeps_azure_settings() -> None:
    """The SDK copy without retries keeps endpoint, deployment, version, credentials and transport."""

    def token() -> str:
        return TOKEN

    kept = ("_azure_endpoint", "_azure_deployment", "_api_version", "_azure_ad_token_provider", "base_url", "_client")
    for driver, watched in (("async", capturing_async_client), ("sync", capturing_sync_client)):
        original: Any = sdk(driver, FakeAzure(), azure_ad_token_provider=token)
        copy: Any = watched(original)
        assert [getattr(original, name) for name in kept] == [getattr(copy, name) for name in kept]
        assert (type(original), 0, 2) == (type(copy), copy.max_retries, original.max_retries)
