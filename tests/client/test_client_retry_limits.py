"""Limits on retries: the circuit breaker, the retry budget, and the caller's retry hook."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from streamcanary import BreakerPolicy, Fault, RetryBudget, RetryPolicy, Route, StreamFailed, StreamResult
from streamcanary.model.faults import FaultKind
from streamcanary.simulator import Simulator
from support.client.drivers import DRIVERS, Driver, DriverClient, driver_client, open_sdk_client
from support.clock import OffsetClock
from support.servers.provider import MODEL, FakeProvider
from support.servers.simulator import HANGING_TIMINGS, wait_until
from support.telemetry.in_memory import RecordedTelemetry

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


# The circuit breaker

BREAKER = BreakerPolicy(failure_rate=0.5, min_calls=2, window=60, first_open_for=30, open_for=30)


@every_driver
async def test_open_circuit_makes_no_attempt(provider: FakeProvider, driver: Driver) -> None:
    """With an open circuit the call goes straight to the fallback, without an attempt or a request."""
    provider.set_fault("500")
    async with ask(driver, provider, breaker=BREAKER, fallbacks=[Route(model="sim-ok")]) as client:
        await client.complete(MODEL)
        requests_before = provider.request_count()
        result = await client.complete(MODEL)
    assert [("sim-ok", None)] == routes(result)
    assert (2, 2, "fallback") == (requests_before, provider.request_count(), result.degraded)


@every_driver
async def test_open_circuit_without_fallback_fails(provider: FakeProvider, driver: Driver) -> None:
    """Without a fallback a circuit that stays open for long fails the call as circuit_open, without an attempt."""
    provider.set_fault("500")
    async with ask(driver, provider, breaker=BREAKER) as client:
        with pytest.raises(StreamFailed):
            await client.complete(MODEL)
        recording = await client.record_stream(MODEL)
    assert recording.failure is not None
    assert (FaultKind.CIRCUIT_OPEN, (), [], 2) == (
        recording.failure.fault.kind,
        recording.failure.attempts,
        recording.events,
        provider.request_count(),
    )


@every_driver
async def test_half_open_admits_one_probe(driver: Driver) -> None:
    """After open_for, one of eleven calls probes the route; a failure opens the circuit again, a success closes it."""
    clock = OffsetClock()
    options = {"clock": clock, "breaker": BREAKER, "retry": ONCE, "fallbacks": [Route(model="sim-ok")]}
    async with (
        FakeProvider("500", pace=HANGING_TIMINGS, connection="close") as provider,
        ask(driver, provider, **options) as client,
    ):
        for _ in range(2):
            await client.complete(MODEL)
        clock.advance(31)
        provider.set_fault("no-headers")
        probe = asyncio.create_task(client.complete(MODEL))
        await wait_until(lambda: provider.request_count() == 3)
        others = await asyncio.gather(*(client.complete(MODEL) for _ in range(10)))
        assert [[("sim-ok", None)]] * 10 == [routes(result) for result in others]
        assert not probe.done()
        provider.close_connections()
        assert [(MODEL, "connection_lost"), ("sim-ok", None)] == routes(await probe)
        provider.set_fault("ok")
        assert [("sim-ok", None)] == routes(await client.complete(MODEL))
        clock.advance(31)
        closed = [await client.complete(MODEL) for _ in range(3)]
    assert ([None] * 3, 6) == ([result.degraded for result in closed], provider.request_count())


@every_driver
async def test_short_outage_costs_few_requests_and_ends_soon(driver: Driver) -> None:
    """With default settings, a primary that is down for 3 s gets at most 12 requests, and then its calls again."""
    async with (
        FakeProvider("503") as provider,
        ask(driver, provider, fallbacks=[Route(model="sim-ok")]) as client,
    ):
        calls: list[asyncio.Task[StreamResult]] = []
        requests_while_down = 0
        for number in range(20):
            if number * 0.35 >= 3.0 and not requests_while_down:
                requests_while_down = provider.request_count()
                provider.set_fault("ok")
            calls.append(asyncio.create_task(client.complete(MODEL)))
            await asyncio.sleep(0.35)
        results = await asyncio.gather(*calls)
    assert ["Pong! The canary sings."] * 20 == [result.text for result in results]
    assert True is (5 <= requests_while_down <= 12)
    assert ("fallback", None) == (results[5].degraded, results[-1].degraded)


@every_driver
@pytest.mark.parametrize("events", [0, 1])
async def test_abandoned_probe_admits_the_next(provider: FakeProvider, driver: Driver, events: int) -> None:
    """A caller who abandons the half-open probe makes room for the next probe."""
    clock = OffsetClock()
    provider.set_fault("500")
    options = {"clock": clock, "breaker": BREAKER, "retry": ONCE, "fallbacks": [Route(model="sim-ok")]}
    async with ask(driver, provider, **options) as client:
        for _ in range(2):
            await client.complete(MODEL)
        clock.advance(31)
        provider.set_fault("ok")
        question = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
        stream = client.client.stream(**question)  # type: ignore[call-overload]
        if driver == "async":
            async with stream:
                for _ in range(events):
                    await anext(stream)
        else:
            with stream:
                for _ in range(events):
                    next(stream)
        assert None is (await client.complete(MODEL)).degraded


@every_driver
async def test_breaker_none_never_blocks(provider: FakeProvider, driver: Driver) -> None:
    """With breaker=None the route is called every time, however often it has failed."""
    provider.set_fault("500")
    async with ask(driver, provider, breaker=None, retry=ONCE) as client:
        for _ in range(25):
            with pytest.raises(StreamFailed):
                await client.complete(MODEL)
    assert 25 == provider.request_count()


# The budget and the retry hook


@every_driver
async def test_budget_is_shared_and_readable(provider: FakeProvider, driver: Driver) -> None:
    """A client and those derived from it share one budget; when it is empty, nothing is retried."""
    budget = RetryBudget(12)
    async with ask(driver, provider, budget=budget, breaker=None) as client:
        seen = [client.client.budget.available]
        for asking in (client, client.with_options(labels={"canary": "c"}), client):
            with pytest.raises(StreamFailed):
                await asking.complete("sim-500")
            seen.append(asking.client.budget.available)
        assert [12, 7, 2, 2] == seen
        assert 5 == len(provider.requests)
        await client.complete("sim-ok")
        assert (3, 12) == (budget.available, budget.capacity)


@every_driver
async def test_empty_budget_still_allows_fallbacks(provider: FakeProvider, driver: Driver) -> None:
    """Only retries on the primary cost budget, so a fallback still answers."""
    async with ask(driver, provider, budget=RetryBudget(0), fallbacks=[Route(model="sim-ok")]) as client:
        result = await client.complete("sim-500")
    assert [("sim-500", "server_error"), ("sim-ok", None)] == routes(result)


@every_driver
@pytest.mark.parametrize(
    ("hook_result", "model", "attempts", "delay"),
    [
        (True, "sim-401", 2, None),
        (False, "sim-500", 1, None),
        (0.02, "sim-401", 2, 0.02),
        (timedelta(milliseconds=30), "sim-500", 2, 0.03),
        (None, "sim-500", 2, None),
        (None, "sim-401", 1, None),
    ],
)
async def test_retry_hook_decides(
    provider: FakeProvider,
    driver: Driver,
    hook_result: bool | float | timedelta | None,
    model: str,
    attempts: int,
    delay: float | None,
) -> None:
    """The hook decides whether and after which delay a fault is retried; None leaves the decision to the client."""
    hook_faults: list[FaultKind] = []

    def decide(fault: Fault) -> bool | float | timedelta | None:
        hook_faults.append(fault.kind)
        return hook_result

    async with ask(driver, provider, on=decide) as client:
        with pytest.raises(StreamFailed) as caught:
            await client.complete(model)
    assert attempts == len(caught.value.attempts)
    assert [attempt.fault.kind for attempt in caught.value.attempts if attempt.fault] == hook_faults
    if delay is not None:
        assert delay == caught.value.attempts[1].delay


@every_driver
async def test_hook_exception_propagates(
    provider: FakeProvider, recorded: RecordedTelemetry, caplog: pytest.LogCaptureFixture, driver: Driver
) -> None:
    """An exception in the hook propagates, every span ends once, and no connection remains."""

    def decide(fault: Fault) -> bool:
        raise ZeroDivisionError

    async with ask(driver, provider, on=decide) as client:
        with pytest.raises(ZeroDivisionError):
            await client.complete("sim-cut")
        await wait_until(lambda: provider.connection_count == 0)
    assert [("chat sim-cut", {"status": "UNSET"}, [("POST", {"status": "ERROR"}, [])])] == recorded.trees()
    assert [] == caplog.records  # the OpenTelemetry SDK logs a warning when a span is ended twice
