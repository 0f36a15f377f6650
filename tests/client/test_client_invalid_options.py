"""Invalid options are rejected with a clear message when the client is created."""

import asyncio
import json
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from streamcanary import AsyncStreamClient, RetryPolicy, Route, StreamClient, StreamFailed, Timeouts
from support.client.drivers import DRIVERS, Driver, driver_client, open_sdk_client
from support.servers.provider import FakeProvider


async def async_hook(fault: object) -> bool:
    """Return True, as an invalid hook: a coroutine function is never awaited."""
    return True


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"retry": 3}, "retry must be a RetryPolicy, not 3"),
        ({"timeouts": 5}, "timeouts must be a Timeouts, not 5"),
        ({"limits": 5}, "limits must be a Limits, not 5"),
        ({"budget": 3}, "budget must be a RetryBudget, not 3"),
        ({"breaker": 3}, "breaker must be a BreakerPolicy, or None for no breaker, not 3"),
        ({"fallbacks": ["gpt"]}, "a fallback is a Route, NonStreaming() or Cached(), not 'gpt'"),
        ({"on": 3}, "on must be a function that returns at once, and no coroutine function, not 3"),
        ({"on": async_hook}, "on must be a function that returns at once, and no coroutine function"),
        ({"on_partial": "again"}, 'on_partial must be "restart", "fail" or "buffer", not \'again\''),
    ],
)
def test_option_of_wrong_type_is_rejected(options: dict[str, Any], says: str) -> None:
    """An option of the wrong type is rejected when the client is created, and by ``with_options``."""
    sdk = AsyncOpenAI(base_url="http://127.0.0.1:9/v1", api_key="x")
    with pytest.raises(TypeError) as made:
        AsyncStreamClient(sdk, **options)
    assert str(made.value).startswith(says)
    if options.keys() <= {"retry", "timeouts", "limits", "fallbacks", "on", "on_partial"}:
        with pytest.raises(TypeError) as changed:
            AsyncStreamClient(sdk).with_options(**options)
        assert str(changed.value) == str(made.value)


def test_sdk_of_the_other_kind_is_rejected() -> None:
    """A client rejects an SDK of the other kind, and the message names the expected pairs."""
    wrong: list[tuple[Any, Any]] = [
        (StreamClient, AsyncOpenAI(base_url="http://127.0.0.1:9/v1", api_key="x")),
        (AsyncStreamClient, OpenAI(base_url="http://127.0.0.1:9/v1", api_key="x")),
        (StreamClient, "sk-secret"),
    ]
    for kind, sdk in wrong:
        with pytest.raises(TypeError, match="an AsyncStreamClient takes an AsyncOpenAI, a StreamClient an OpenAI"):
            kind(sdk)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("error", [RuntimeError("vault t0k3n-99"), ValueError("no lease"), KeyError("role")])
async def test_failing_key_function_is_a_config_fault(driver: Driver, error: Exception) -> None:
    """A failing key function sends no request and blames the config; a fallback with its own key still answers."""

    def failing_key() -> str:
        raise error

    async def failing_key_async() -> str:
        raise error

    async with FakeProvider() as provider, open_sdk_client(driver, provider.base_url) as sdk:
        keyless = sdk.with_options(api_key=failing_key if driver == "sync" else failing_key_async)
        with pytest.raises(StreamFailed) as caught:
            await driver_client(driver, keyless).complete("sim-ok")
        fault = caught.value.fault
        assert ("auth_failed", "config", "config", False) == (fault.kind, fault.blame, fault.phase, fault.retryable)
        assert type(error).__name__ in fault.message
        assert () == tuple(provider.requests)
        rescued = await driver_client(driver, keyless, fallbacks=[Route(client=sdk)]).complete("sim-ok")
    assert "fallback" == rescued.degraded


@pytest.mark.parametrize("driver", DRIVERS)
async def test_override_of_the_other_api_is_omitted(driver: Driver) -> None:
    """An override that only Chat Completions knows, ``max_tokens``, is omitted for the Responses API."""
    async with FakeProvider() as provider, open_sdk_client(driver, provider.base_url) as sdk:
        client = driver_client(driver, sdk, fallbacks=[Route(model="sim-ok", overrides={"max_tokens": 64})])
        chat = await client.complete("sim-500")
        request = {"model": "sim-500", "input": "Reply with the single word pong."}
        if isinstance(client.client, AsyncStreamClient):
            responses = await client.client.complete(**request)
        else:
            responses = await asyncio.to_thread(client.client.complete, **request)
        bodies = [json.loads(request.body) for request in provider.requests]
        sent = [body for body in bodies if body["model"] == "sim-ok"]
    assert ["fallback", "fallback"] == [chat.degraded, responses.degraded]
    assert [64, None] == [body.get("max_tokens") for body in sent]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("hook_result", ["soon", float("nan"), float("inf"), -1])
async def test_invalid_hook_result_raises_type_error(driver: Driver, hook_result: Any) -> None:
    """An invalid result of the retry hook raises TypeError, not StreamFailed."""
    async with FakeProvider("500") as provider, open_sdk_client(driver, provider.base_url) as sdk:
        client = driver_client(
            driver, sdk, on=lambda _: hook_result, retry=RetryPolicy(max_attempts=2), timeouts=Timeouts(total=5)
        )
        with pytest.raises(TypeError, match="on must return None, True, False, or the seconds to wait") as caught:
            await client.complete("sim-500")
    assert not isinstance(caught.value, StreamFailed)


@pytest.mark.parametrize(
    ("reserved", "says"),
    [
        ({"n": 2}, "'n'{} must be 1: a stream has one answer"),
        ({"stream": False}, "'stream'{} cannot be given to a stream: the client sets it; set timeouts with Timeouts"),
        ({"background": True}, "'background'{} cannot be given to a stream: the client sets it; set timeouts with "),
    ],
)
@pytest.mark.parametrize("content", [{"messages": [{"role": "user", "content": "?"}]}, {"input": "?"}])
def test_reserved_argument_in_extra_body_is_rejected(
    reserved: dict[str, Any], says: str, content: dict[str, Any]
) -> None:
    """Arguments that the client sets are also rejected in extra_body and in route overrides, for both APIs."""
    client = AsyncStreamClient(AsyncOpenAI(base_url="http://127.0.0.1:9/v1", api_key="x"))
    arguments: dict[str, Any] = {"model": "m", **content}
    nested = {"extra_body": reserved}
    route = client.with_options(fallbacks=[Route(model="other", overrides=nested)])
    for caller, more, where in (
        (client, reserved, ""),
        (client, nested, " in extra_body"),
        (route, {}, " in extra_body in the overrides of a Route"),
    ):
        with pytest.raises(TypeError) as caught:
            caller.stream(**arguments, **more)
        assert str(caught.value).startswith(says.format(where))


@pytest.mark.parametrize("content", [{"messages": [{"role": "user", "content": "?"}]}, {"input": "?"}])
def test_route_override_of_n_is_rejected(content: dict[str, Any]) -> None:
    """An override ``n`` above 1 is rejected, even for the API that has no ``n``."""
    sdk = AsyncOpenAI(base_url="http://127.0.0.1:9/v1", api_key="x")
    client: Any = AsyncStreamClient(sdk, fallbacks=[Route(model="other", overrides={"n": 2})])
    with pytest.raises(TypeError, match="'n' in the overrides of a Route must be 1: a stream has one answer"):
        client.stream(model="m", **content)


async def test_extra_body_may_repeat_valid_values() -> None:
    """extra_body may contain n=1, and fields that the SDK does not know are sent to the server."""
    async with FakeProvider() as provider, open_sdk_client("async", provider.base_url) as sdk:
        client = AsyncStreamClient(sdk)
        await client.complete(
            model="sim-ok", messages=[{"role": "user", "content": "?"}], extra_body={"n": 1, "top_k": 4}
        )
        body = json.loads(provider.requests[0].body)
    assert (1, 4, True) == (body["n"], body["top_k"], body["stream"])
