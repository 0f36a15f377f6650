"""What is put into a client that does not belong there is refused when the client is made, in words."""

import asyncio
import json
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from streamcanary import AsyncStreamClient, RetryPolicy, Route, StreamClient, StreamFailed, Timeouts
from support.client.drivers import DRIVERS, Driver, driver_client, open_sdk_client
from support.servers.provider import FakeProvider


async def slowly(fault: object) -> bool:
    """Be no hook: nobody awaits it."""
    return True


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"retry": 3}, "retry must be a RetryPolicy, not 3"),
        ({"timeouts": 5}, "timeouts must be a Timeouts, not 5"),
        ({"budget": 3}, "budget must be a RetryBudget, not 3"),
        ({"breaker": 3}, "breaker must be a BreakerPolicy, or None for no breaker, not 3"),
        ({"fallbacks": ["gpt"]}, "a fallback is a Route, NonStreaming() or Cached(), not 'gpt'"),
        ({"on": 3}, "on must be a function that returns at once, and no coroutine function, not 3"),
        ({"on": slowly}, "on must be a function that returns at once, and no coroutine function"),
        ({"on_partial": "again"}, 'on_partial must be "restart", "fail" or "buffer", not \'again\''),
    ],
)
def test_an_option_of_another_kind_is_refused(options: dict[str, Any], says: str) -> None:
    """At once, when the client is made, and when another is made of it."""
    sdk = AsyncOpenAI(base_url="http://127.0.0.1:9/v1", api_key="x")
    with pytest.raises(TypeError) as made:
        AsyncStreamClient(sdk, **options)
    assert str(made.value).startswith(says)
    if options.keys() <= {"retry", "timeouts", "fallbacks", "on", "on_partial"}:
        with pytest.raises(TypeError) as changed:
            AsyncStreamClient(sdk).with_options(**options)
        assert str(changed.value) == str(made.value)


def test_each_client_takes_its_own_kind_of_sdk() -> None:
    """The message says which is whose."""
    wrong: list[tuple[Any, Any]] = [
        (StreamClient, AsyncOpenAI(base_url="http://127.0.0.1:9/v1", api_key="x")),
        (AsyncStreamClient, OpenAI(base_url="http://127.0.0.1:9/v1", api_key="x")),
        (StreamClient, "sk-secret"),
    ]
    for kind, sdk in wrong:
        with pytest.raises(TypeError, match="an AsyncStreamClient takes an AsyncOpenAI, a StreamClient an OpenAI"):
            kind(sdk)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("error", [RuntimeError("vault t0k3n-99"), ConnectionError("vault is down"), KeyError("role")])
async def test_a_key_that_cannot_be_had_is_no_fault_of_the_endpoint(driver: Driver, error: Exception) -> None:
    """The function that gives it has failed: nothing was sent, and a way with a key of its own may still answer."""

    def give() -> str:
        raise error

    async def give_later() -> str:
        raise error

    async with FakeProvider() as provider, open_sdk_client(driver, provider.base_url) as sdk:
        keyless = sdk.with_options(api_key=give if driver == "sync" else give_later)
        with pytest.raises(StreamFailed) as caught:
            await driver_client(driver, keyless).complete("sim-ok")
        fault = caught.value.fault
        assert ("auth_failed", "config", "config", False) == (fault.kind, fault.blame, fault.phase, fault.retryable)
        assert type(error).__name__ in fault.message
        assert () == tuple(provider.requests)
        rescued = await driver_client(driver, keyless, fallbacks=[Route(client=sdk)]).complete("sim-ok")
    assert "fallback" == rescued.degraded


@pytest.mark.parametrize("driver", DRIVERS)
async def test_an_override_of_the_other_api_is_left_out(driver: Driver) -> None:
    """One client with one fallback asks both APIs: ``max_tokens`` is of Chat Completions alone."""
    async with FakeProvider() as provider, open_sdk_client(driver, provider.base_url) as sdk:
        client = driver_client(driver, sdk, fallbacks=[Route(model="sim-ok", overrides={"max_tokens": 64})])
        chat = await client.complete("sim-500")
        question = {"model": "sim-500", "input": "Reply with the single word pong."}
        if isinstance(client.client, AsyncStreamClient):
            responses = await client.client.complete(**question)
        else:
            responses = await asyncio.to_thread(client.client.complete, **question)
        bodies = [json.loads(request.body) for request in provider.requests]
        sent = [body for body in bodies if body["model"] == "sim-ok"]
    assert ["fallback", "fallback"] == [chat.degraded, responses.degraded]
    assert [64, None] == [body.get("max_tokens") for body in sent]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("wish", ["soon", float("nan"), float("inf"), -1])
async def test_a_hook_that_wishes_nonsense_is_told_so(driver: Driver, wish: Any) -> None:
    """It is a mistake in the program, so it is no fault of the stream."""
    async with FakeProvider("500") as provider, open_sdk_client(driver, provider.base_url) as sdk:
        client = driver_client(
            driver, sdk, on=lambda _: wish, retry=RetryPolicy(max_attempts=2), timeouts=Timeouts(total=5)
        )
        with pytest.raises(TypeError, match="on must return None, True, False, or the seconds to wait") as caught:
            await client.complete("sim-500")
    assert not isinstance(caught.value, StreamFailed)


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ({"n": 2}, "'n'{} must be 1: a stream has one answer"),
        ({"stream": False}, "'stream'{} cannot be given to a stream: the client sets it, see Timeouts for the clocks"),
        ({"background": True}, "'background'{} cannot be given to a stream: the client sets it, see Timeouts for "),
    ],
)
@pytest.mark.parametrize("question", [{"messages": [{"role": "user", "content": "?"}]}, {"input": "?"}])
def test_what_the_client_sets_cannot_be_smuggled_in(own: dict[str, Any], says: str, question: dict[str, Any]) -> None:
    """In the body, and in what a route puts over the arguments, it is refused as it is among them, for both APIs."""
    client = AsyncStreamClient(AsyncOpenAI(base_url="http://127.0.0.1:9/v1", api_key="x"))
    arguments: dict[str, Any] = {"model": "m", **question}
    smuggled = {"extra_body": own}
    route = client.with_options(fallbacks=[Route(model="other", overrides=smuggled)])
    for asked, more, where in (
        (client, own, ""),
        (client, smuggled, " in extra_body"),
        (route, {}, " in extra_body in the overrides of a Route"),
    ):
        with pytest.raises(TypeError) as caught:
            asked.stream(**arguments, **more)
        assert str(caught.value).startswith(says.format(where))


@pytest.mark.parametrize("question", [{"messages": [{"role": "user", "content": "?"}]}, {"input": "?"}])
def test_a_route_has_one_answer_too(question: dict[str, Any]) -> None:
    """More are refused even where the API that is asked knows no ``n``, and would leave it out."""
    sdk = AsyncOpenAI(base_url="http://127.0.0.1:9/v1", api_key="x")
    client: Any = AsyncStreamClient(sdk, fallbacks=[Route(model="other", overrides={"n": 2})])
    with pytest.raises(TypeError, match="'n' in the overrides of a Route must be 1: a stream has one answer"):
        client.stream(model="m", **question)


async def test_an_extra_body_may_say_once_more_what_is_so() -> None:
    """One answer is what there is; what the SDK does not know goes to the server."""
    async with FakeProvider() as provider, open_sdk_client("async", provider.base_url) as sdk:
        client = AsyncStreamClient(sdk)
        await client.complete(
            model="sim-ok", messages=[{"role": "user", "content": "?"}], extra_body={"n": 1, "top_k": 4}
        )
        body = json.loads(provider.requests[0].body)
    assert (1, 4, True) == (body["n"], body["top_k"], body["stream"])
