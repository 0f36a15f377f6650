"""What answers when the call's own route does not: another route, a whole body, the cache."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from streamcanary import (
    Cached,
    NonStreaming,
    RetryPolicy,
    Route,
    StreamFailed,
    StreamResult,
    Timeouts,
)
from streamcanary.events import AttemptFailed, FallbackStarted
from streamcanary.model.faults import FaultKind
from streamcanary.simulator import Simulator
from support.client.drivers import DRIVERS, Driver, DriverClient, driver_client, open_sdk_client
from support.clock import OffsetClock
from support.servers.provider import MODEL, FakeProvider
from support.servers.simulator import HANGING_TIMINGS, wait_until

ANSWER = "Pong! The canary sings."
ONCE = RetryPolicy(max_attempts=1)

every_driver = pytest.mark.parametrize("driver", DRIVERS)


@asynccontextmanager
async def ask(driver: Driver, provider: Simulator, **options: object) -> AsyncIterator[DriverClient]:
    async with open_sdk_client(driver, provider.base_url) as sdk:
        yield driver_client(driver, sdk, **options)


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider(pace=HANGING_TIMINGS) as provider:
        yield provider


def routes(told: StreamResult | StreamFailed) -> list[tuple[str, str | None]]:
    return [(attempt.route, attempt.fault.kind.value if attempt.fault else None) for attempt in told.attempts]


# Another route


@every_driver
@pytest.mark.parametrize(
    "fault", ["cut", "truncated", "inband-error", "500", "401", "404", "quota", "context-length", "html-200", "empty"]
)
async def test_another_model_answers(provider: FakeProvider, driver: Driver, fault: str) -> None:
    """Whatever the own route fails with, a fallback that is well answers whole, under its own name, as degraded."""
    async with ask(driver, provider, fallbacks=[Route(model="sim-ok")]) as client:
        heard = await client.record_stream(f"sim-{fault}")
    assert heard.result is not None
    assert (ANSWER, ANSWER, "sim-ok", "fallback") == (
        heard.text,
        heard.result.text,
        heard.result.model,
        heard.result.degraded,
    )
    assert ("sim-ok", None) == routes(heard.result)[-1]
    assert [FallbackStarted("sim-ok")] == [event for event in heard.events if isinstance(event, FallbackStarted)]


@every_driver
async def test_another_endpoint_answers(provider: FakeProvider, driver: Driver) -> None:
    """A route with a client of its own is asked there, with its overrides, and by the name that it was given."""
    async with (
        FakeProvider(pace=HANGING_TIMINGS) as other,
        open_sdk_client(driver, other.base_url) as other_sdk,
        ask(
            driver,
            provider,
            fallbacks=[Route(client=other_sdk, model="sim-ok", overrides={"max_tokens": 7}, name="elsewhere")],
        ) as client,
    ):
        result = await client.complete("sim-cut")
        await wait_until(lambda: len(other.requests) == 1)
        assert (["sim-cut", "sim-cut"], ["sim-ok"]) == (
            [request.model for request in provider.requests],
            [request.model for request in other.requests],
        )
        assert '"max_tokens":7' in other.requests[0].body
        assert False is ("max_tokens" in provider.requests[0].body)
    assert [("sim-cut", "stream_cut"), ("sim-cut", "stream_cut"), ("elsewhere", None)] == routes(result)
    assert "fallback" == result.degraded


@every_driver
async def test_an_endpoint_that_is_gone(driver: Driver) -> None:
    """When nobody listens at the own endpoint, the other one answers."""
    async with FakeProvider(pace=HANGING_TIMINGS) as other, open_sdk_client(driver, other.base_url) as other_sdk:
        gone = Simulator()
        await gone.start()
        await gone.close()
        async with ask(driver, gone, retry=ONCE, fallbacks=[Route(client=other_sdk)]) as client:
            result = await client.complete("sim-ok")
    assert [("sim-ok", "connect_failed"), ("sim-ok#1", None)] == routes(result)


@every_driver
@pytest.mark.parametrize("fault", ["content-policy", "content-filter-empty"])
async def test_a_content_policy_is_not_shopped_around(provider: FakeProvider, driver: Driver, fault: str) -> None:
    """What a provider refuses on grounds of content is put to no other route, not even without streaming."""
    async with ask(driver, provider, fallbacks=[Route(model="sim-ok"), NonStreaming(), Cached()]) as client:
        with pytest.raises(StreamFailed) as caught:
            await client.complete(f"sim-{fault}")
    assert (FaultKind.CONTENT_POLICY, 1) == (caught.value.fault.kind, len(provider.requests))


@every_driver
async def test_a_timeout_prefers_the_next_route(provider: FakeProvider, driver: Driver) -> None:
    """A route that stalls is not waited for a second time while another is left, and its clocks are its own."""
    fallbacks = [Route(model="sim-ok", timeouts=Timeouts(stall=10))]
    async with ask(driver, provider, timeouts=Timeouts(stall=0.1), fallbacks=fallbacks) as client:
        result = await client.complete("sim-keepalive-stall")
    assert [("sim-keepalive-stall", "stalled"), ("sim-ok", None)] == routes(result)


@every_driver
async def test_when_all_have_failed(provider: FakeProvider, driver: Driver) -> None:
    """The failure has every attempt in order, the last fault, and each fault was told as an event."""
    async with ask(driver, provider, fallbacks=[Route(model="sim-404"), NonStreaming()]) as client:
        heard = await client.record_stream("sim-500")
    assert heard.failure is not None
    assert [
        ("sim-500", "server_error"),
        ("sim-500", "server_error"),
        ("sim-404", "not_found"),
        ("sim-500:whole", "server_error"),
    ] == routes(heard.failure)
    failed = [event.attempt for event in heard.events if isinstance(event, AttemptFailed)]
    assert (list(heard.failure.attempts), FaultKind.SERVER_ERROR) == (failed, heard.failure.fault.kind)


# The same without streaming


@every_driver
@pytest.mark.parametrize("fault", ["cut@2", "truncated@2", "reset-stream@2", "malformed@2", "inband-error@2"])
async def test_a_whole_body_where_streams_break(provider: FakeProvider, driver: Driver, fault: str) -> None:
    """When both streams have broken, the same request without stream=True is sent once; its answer is degraded."""
    async with ask(driver, provider, fallbacks=[NonStreaming()]) as client:
        heard = await client.record_stream(f"sim-{fault}")
    assert heard.result is not None
    assert [True, True, False] == [bool(request.stream) for request in provider.requests]
    assert (ANSWER, ANSWER, "non_streaming", f"sim-{fault}", f"sim-{fault}:whole") == (
        heard.text,
        heard.result.text,
        heard.result.degraded,
        heard.result.model,
        heard.result.attempts[-1].route,
    )
    assert ANSWER == heard.result.response.choices[0].message.content  # type: ignore[union-attr]


@every_driver
async def test_no_clock_of_the_stream_runs_without_one(provider: FakeProvider, driver: Driver) -> None:
    """A whole body is silent until it is done: a stall clock does not strike, the total one does."""
    timeouts = Timeouts(first_token=0.5, stall=0.05, total=1.2)
    async with ask(driver, provider, retry=ONCE, timeouts=timeouts, fallbacks=[NonStreaming()]) as client:
        with pytest.raises(StreamFailed) as caught:
            await client.complete("sim-stall")
    assert [("sim-stall", "stalled"), ("sim-stall:whole", "total_timeout")] == routes(caught.value)


@every_driver
async def test_a_body_that_is_cut_is_no_answer(provider: FakeProvider, driver: Driver) -> None:
    """Half a JSON body is a fault like half a stream."""
    async with ask(driver, provider, retry=ONCE, fallbacks=[NonStreaming()]) as client:
        with pytest.raises(StreamFailed) as caught:
            await client.complete("sim-cut")
    assert [("sim-cut", "stream_cut"), ("sim-cut:whole", "stream_cut")] == routes(caught.value)


# The last good answer


@every_driver
async def test_the_last_good_answer(provider: FakeProvider, driver: Driver) -> None:
    """While nothing answers, the last good answer does, in one piece, marked, with the attempts that failed."""
    async with ask(driver, provider, fallbacks=[Cached()]) as client:
        fresh = await client.complete(MODEL)
        provider.set_fault("cut")
        heard = await client.record_stream(MODEL)
    kept = heard.result
    assert kept is not None
    assert (None, "cache") == (fresh.degraded, kept.degraded)
    assert (ANSWER, ANSWER, fresh.finish_reason, fresh.model, fresh.response_id) == (
        heard.text,
        kept.text,
        kept.finish_reason,
        kept.model,
        kept.response_id,
    )
    assert [(MODEL, "stream_cut"), (MODEL, "stream_cut")] == routes(kept)
    assert [FallbackStarted("cache")] == [event for event in heard.events if isinstance(event, FallbackStarted)]
    assert "content.delta" == heard.types[-2]


@every_driver
async def test_a_cached_answer_grows_too_old(provider: FakeProvider, driver: Driver) -> None:
    """An answer is given for max_age seconds, and then the call fails as it would have without."""
    clock = OffsetClock()
    async with ask(driver, provider, clock=clock, fallbacks=[Cached(max_age=60)]) as client:
        await client.complete(MODEL)
        provider.set_fault("500")
        clock.advance(50)
        assert "cache" == (await client.complete(MODEL)).degraded
        clock.advance(20)
        with pytest.raises(StreamFailed) as caught:
            await client.complete(MODEL)
    assert FaultKind.SERVER_ERROR is caught.value.fault.kind


@every_driver
@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"messages": [{"role": "user", "content": "Another question."}]}, {"temperature": 0.5}]
)
async def test_another_request_has_another_answer(
    provider: FakeProvider, driver: Driver, other: dict[str, object]
) -> None:
    """An answer to one request is never given to another."""
    async with ask(driver, provider, fallbacks=[Cached()]) as client:
        await client.complete(MODEL)
        provider.set_fault("500")
        with pytest.raises(StreamFailed):
            await client.complete(MODEL, **other)


@every_driver
async def test_only_healthy_answers_are_kept(provider: FakeProvider, driver: Driver) -> None:
    """What a fallback said is not the answer of the route that was asked: it is not served again as one."""
    async with ask(driver, provider, fallbacks=[Route(model="sim-ok"), Cached()]) as client:
        assert "fallback" == (await client.complete("sim-401")).degraded
        with pytest.raises(StreamFailed):
            await client.with_options(fallbacks=[Cached()]).complete("sim-401")


@every_driver
async def test_the_cache_is_shared(provider: FakeProvider, driver: Driver) -> None:
    """A client that was made by with_options gives what the other one got."""
    async with ask(driver, provider, fallbacks=[Cached()]) as client:
        await client.with_options(timeouts=Timeouts(stall=5), fallbacks=[]).complete(MODEL)
        provider.set_fault("500")
        assert "cache" == (await client.complete(MODEL)).degraded


@every_driver
async def test_the_cache_is_asked_when_there_is_no_time_left(provider: FakeProvider, driver: Driver) -> None:
    """A provider that hangs through the stream and the whole answer has used up the clock; the cache needs none."""
    clocks = Timeouts(headers=0.2, first_token=0.2, stall=0.2, total=0.6)
    async with ask(driver, provider, retry=ONCE, fallbacks=[NonStreaming(), Cached()]) as client:
        await client.complete(MODEL)
        provider.set_fault("no-headers")
        kept = await client.with_options(timeouts=clocks).complete(MODEL)
    assert ("cache", ANSWER) == (kept.degraded, kept.text)
    assert [(MODEL, "headers_timeout"), (f"{MODEL}:whole", "total_timeout")] == routes(kept)
