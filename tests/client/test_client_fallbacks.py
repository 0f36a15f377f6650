"""Fallbacks of a call: another route, the same request without streaming, and the cache."""

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


def routes(outcome: StreamResult | StreamFailed) -> list[tuple[str, str | None]]:
    return [(attempt.route, attempt.fault.kind.value if attempt.fault else None) for attempt in outcome.attempts]


# Another route


@every_driver
@pytest.mark.parametrize(
    "fault", ["cut", "truncated", "inband-error", "500", "401", "404", "quota", "context-length", "html-200", "empty"]
)
async def test_fallback_model_answers(provider: FakeProvider, driver: Driver, fault: str) -> None:
    """When the primary fails, a working fallback answers completely, under its own name, as degraded."""
    async with ask(driver, provider, fallbacks=[Route(model="sim-ok")]) as client:
        recording = await client.record_stream(f"sim-{fault}")
    assert recording.result is not None
    assert (ANSWER, ANSWER, "sim-ok", "fallback") == (
        recording.text,
        recording.result.text,
        recording.result.model,
        recording.result.degraded,
    )
    assert ("sim-ok", None) == routes(recording.result)[-1]
    assert [FallbackStarted("sim-ok")] == [event for event in recording.events if isinstance(event, FallbackStarted)]


@every_driver
async def test_fallback_endpoint_answers(provider: FakeProvider, driver: Driver) -> None:
    """A route with its own client is called at that endpoint, with its overrides and its name."""
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
async def test_fallback_answers_when_primary_endpoint_is_down(driver: Driver) -> None:
    """When nothing listens at the primary endpoint, the fallback endpoint answers."""
    async with FakeProvider(pace=HANGING_TIMINGS) as other, open_sdk_client(driver, other.base_url) as other_sdk:
        gone = Simulator()
        await gone.start()
        await gone.close()
        async with ask(driver, gone, retry=ONCE, fallbacks=[Route(client=other_sdk)]) as client:
            result = await client.complete("sim-ok")
    assert [("sim-ok", "connect_failed"), ("sim-ok#1", None)] == routes(result)


@every_driver
@pytest.mark.parametrize("fault", ["content-policy", "content-filter-empty"])
async def test_content_policy_refusal_skips_fallbacks(provider: FakeProvider, driver: Driver, fault: str) -> None:
    """A request refused for its content is sent to no fallback, not even without streaming."""
    async with ask(driver, provider, fallbacks=[Route(model="sim-ok"), NonStreaming(), Cached()]) as client:
        with pytest.raises(StreamFailed) as caught:
            await client.complete(f"sim-{fault}")
    assert (FaultKind.CONTENT_POLICY, 1) == (caught.value.fault.kind, len(provider.requests))


@every_driver
async def test_timeout_prefers_the_next_route(provider: FakeProvider, driver: Driver) -> None:
    """A stalled route is not retried while another route remains, and that route has its own timeouts."""
    fallbacks = [Route(model="sim-ok", timeouts=Timeouts(stall=10))]
    async with ask(driver, provider, timeouts=Timeouts(stall=0.1), fallbacks=fallbacks) as client:
        result = await client.complete("sim-keepalive-stall")
    assert [("sim-keepalive-stall", "stalled"), ("sim-ok", None)] == routes(result)


@every_driver
async def test_failure_lists_every_attempt(provider: FakeProvider, driver: Driver) -> None:
    """The failure lists every attempt in order and the last fault, and each fault was emitted as an event."""
    async with ask(driver, provider, fallbacks=[Route(model="sim-404"), NonStreaming()]) as client:
        recording = await client.record_stream("sim-500")
    assert recording.failure is not None
    assert [
        ("sim-500", "server_error"),
        ("sim-500", "server_error"),
        ("sim-404", "not_found"),
        ("sim-500:whole", "server_error"),
    ] == routes(recording.failure)
    failed = [event.attempt for event in recording.events if isinstance(event, AttemptFailed)]
    assert (list(recording.failure.attempts), FaultKind.SERVER_ERROR) == (failed, recording.failure.fault.kind)


# The same request without streaming


@every_driver
@pytest.mark.parametrize("fault", ["cut@2", "truncated@2", "reset-stream@2", "malformed@2", "inband-error@2"])
async def test_non_streaming_fallback_answers(provider: FakeProvider, driver: Driver, fault: str) -> None:
    """When both streams fail, the same request is sent once without streaming, and its answer is degraded."""
    async with ask(driver, provider, fallbacks=[NonStreaming()]) as client:
        recording = await client.record_stream(f"sim-{fault}")
    assert recording.result is not None
    assert [True, True, False] == [bool(request.stream) for request in provider.requests]
    assert (ANSWER, ANSWER, "non_streaming", f"sim-{fault}", f"sim-{fault}:whole") == (
        recording.text,
        recording.result.text,
        recording.result.degraded,
        recording.result.model,
        recording.result.attempts[-1].route,
    )
    assert ANSWER == recording.result.response.choices[0].message.content  # type: ignore[union-attr]


@every_driver
async def test_non_streaming_fallback_has_no_stall_timeout(provider: FakeProvider, driver: Driver) -> None:
    """Without streaming the stall timeout does not apply, and the total timeout does."""
    timeouts = Timeouts(first_token=0.5, stall=0.05, total=1.2)
    async with ask(driver, provider, retry=ONCE, timeouts=timeouts, fallbacks=[NonStreaming()]) as client:
        with pytest.raises(StreamFailed) as caught:
            await client.complete("sim-stall")
    assert [("sim-stall", "stalled"), ("sim-stall:whole", "total_timeout")] == routes(caught.value)


@every_driver
async def test_truncated_json_body_is_a_fault(provider: FakeProvider, driver: Driver) -> None:
    """A truncated JSON body is a fault like a truncated stream."""
    async with ask(driver, provider, retry=ONCE, fallbacks=[NonStreaming()]) as client:
        with pytest.raises(StreamFailed) as caught:
            await client.complete("sim-cut")
    assert [("sim-cut", "stream_cut"), ("sim-cut:whole", "stream_cut")] == routes(caught.value)


# The cached answer


@every_driver
async def test_cached_answer_is_the_last_resort(provider: FakeProvider, driver: Driver) -> None:
    """When every route fails, the cached answer is delivered in one piece, as degraded, with the failed attempts."""
    async with ask(driver, provider, fallbacks=[Cached()]) as client:
        fresh = await client.complete(MODEL)
        provider.set_fault("cut")
        recording = await client.record_stream(MODEL)
    cached = recording.result
    assert cached is not None
    assert (None, "cache") == (fresh.degraded, cached.degraded)
    assert (ANSWER, ANSWER, fresh.finish_reason, fresh.model, fresh.response_id) == (
        recording.text,
        cached.text,
        cached.finish_reason,
        cached.model,
        cached.response_id,
    )
    assert [(MODEL, "stream_cut"), (MODEL, "stream_cut")] == routes(cached)
    assert [FallbackStarted("cache")] == [event for event in recording.events if isinstance(event, FallbackStarted)]
    assert "content.delta" == recording.types[-2]


@every_driver
async def test_cached_answer_expires(provider: FakeProvider, driver: Driver) -> None:
    """A cached answer is used for max_age seconds; after that the call fails as without a cache."""
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
async def test_cached_answer_is_per_request(provider: FakeProvider, driver: Driver, other: dict[str, object]) -> None:
    """A cached answer is never used for a different request."""
    async with ask(driver, provider, fallbacks=[Cached()]) as client:
        await client.complete(MODEL)
        provider.set_fault("500")
        with pytest.raises(StreamFailed):
            await client.complete(MODEL, **other)


@every_driver
async def test_degraded_answers_are_not_cached(provider: FakeProvider, driver: Driver) -> None:
    """The answer of a fallback is not cached."""
    async with ask(driver, provider, fallbacks=[Route(model="sim-ok"), Cached()]) as client:
        assert "fallback" == (await client.complete("sim-401")).degraded
        with pytest.raises(StreamFailed):
            await client.with_options(fallbacks=[Cached()]).complete("sim-401")


@every_driver
async def test_cache_is_shared_by_derived_clients(provider: FakeProvider, driver: Driver) -> None:
    """A client from with_options uses the answers that the original client cached."""
    async with ask(driver, provider, fallbacks=[Cached()]) as client:
        await client.with_options(timeouts=Timeouts(stall=5), fallbacks=[]).complete(MODEL)
        provider.set_fault("500")
        assert "cache" == (await client.complete(MODEL)).degraded


@every_driver
async def test_cache_is_used_after_the_total_deadline(provider: FakeProvider, driver: Driver) -> None:
    """When the total timeout has expired, the cache is still used."""
    clocks = Timeouts(headers=0.2, first_token=0.2, stall=0.2, total=0.6)
    async with ask(driver, provider, retry=ONCE, fallbacks=[NonStreaming(), Cached()]) as client:
        await client.complete(MODEL)
        provider.set_fault("no-headers")
        cached = await client.with_options(timeouts=clocks).complete(MODEL)
    assert ("cache", ANSWER) == (cached.degraded, cached.text)
    assert [(MODEL, "headers_timeout"), (f"{MODEL}:whole", "total_timeout")] == routes(cached)
