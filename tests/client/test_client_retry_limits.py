"""What spares a provider that is down: the circuit breaker, the retry budget, and the caller's own word."""

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


def routes(told: StreamResult | StreamFailed) -> list[tuple[str, str | None]]:
    return [(attempt.route, attempt.fault.kind.value if attempt.fault else None) for attempt in told.attempts]


# The circuit breaker

BREAKER = BreakerPolicy(failure_rate=0.5, min_calls=2, window=60, open_for=30)


@every_driver
async def test_an_open_circuit_costs_nothing(provider: FakeProvider, driver: Driver) -> None:
    """When a route has mostly failed, the next call goes straight to its fallback: no attempt, no request."""
    provider.set_fault("500")
    async with ask(driver, provider, breaker=BREAKER, fallbacks=[Route(model="sim-ok")]) as client:
        await client.complete(MODEL)
        asked = provider.request_count()
        result = await client.complete(MODEL)
    assert [("sim-ok", None)] == routes(result)
    assert (2, 2, "fallback") == (asked, provider.request_count(), result.degraded)


@every_driver
async def test_an_open_circuit_without_a_fallback(provider: FakeProvider, driver: Driver) -> None:
    """Then the call fails at once, as circuit_open, with no attempt, blamed on ourselves."""
    provider.set_fault("500")
    async with ask(driver, provider, breaker=BREAKER) as client:
        with pytest.raises(StreamFailed):
            await client.complete(MODEL)
        heard = await client.record_stream(MODEL)
    assert heard.failure is not None
    assert (FaultKind.CIRCUIT_OPEN, (), [], 2) == (
        heard.failure.fault.kind,
        heard.failure.attempts,
        heard.events,
        provider.request_count(),
    )


@every_driver
async def test_half_open_lets_one_probe_through(driver: Driver) -> None:
    """After open_for, one of eleven calls asks the route. While it fails, it rests again; then one closes it."""
    clock = OffsetClock()
    options = {"clock": clock, "breaker": BREAKER, "retry": ONCE, "fallbacks": [Route(model="sim-ok")]}
    async with (
        FakeProvider("500", pace=HANGING_TIMINGS, connection="close") as provider,
        ask(driver, provider, **options) as client,
    ):
        for _ in range(2):
            await client.complete(MODEL)
        clock.advance(31)
        provider.set_fault("stall")
        probe = asyncio.create_task(client.complete(MODEL))
        await wait_until(lambda: provider.request_count() == 3)
        others = await asyncio.gather(*(client.complete(MODEL) for _ in range(10)))
        assert [[("sim-ok", None)]] * 10 == [routes(result) for result in others]
        assert not probe.done()
        provider.close_connections()
        assert [(MODEL, "stream_cut"), ("sim-ok", None)] == routes(await probe)
        provider.set_fault("ok")
        assert [("sim-ok", None)] == routes(await client.complete(MODEL))
        clock.advance(31)
        closed = [await client.complete(MODEL) for _ in range(3)]
    assert ([None] * 3, 6) == ([result.degraded for result in closed], provider.request_count())


@every_driver
@pytest.mark.parametrize("events", [0, 1])
async def test_a_probe_that_is_left_does_not_block(provider: FakeProvider, driver: Driver, events: int) -> None:
    """A caller who leaves the one probe of a half-open circuit makes room for the next."""
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
async def test_without_a_breaker(provider: FakeProvider, driver: Driver) -> None:
    """breaker=None asks the route each time, however often it has failed."""
    provider.set_fault("500")
    async with ask(driver, provider, breaker=None, retry=ONCE) as client:
        for _ in range(25):
            with pytest.raises(StreamFailed):
                await client.complete(MODEL)
    assert 25 == provider.request_count()


# The budget, and the caller's own word


@every_driver
async def test_the_budget_is_shared_and_can_be_read(provider: FakeProvider, driver: Driver) -> None:
    """Retries of a client and of those made from it draw on one bucket; when it is empty, nothing is retried."""
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
async def test_an_empty_budget_leaves_the_fallbacks(provider: FakeProvider, driver: Driver) -> None:
    """Only retries on the own route cost tokens: a fallback answers all the same."""
    async with ask(driver, provider, budget=RetryBudget(0), fallbacks=[Route(model="sim-ok")]) as client:
        result = await client.complete("sim-500")
    assert [("sim-500", "server_error"), ("sim-ok", None)] == routes(result)


@every_driver
@pytest.mark.parametrize(
    ("wish", "model", "attempts", "delay"),
    [
        (True, "sim-401", 2, None),
        (False, "sim-500", 1, None),
        (0.02, "sim-401", 2, 0.02),
        (timedelta(milliseconds=30), "sim-500", 2, 0.03),
        (None, "sim-500", 2, None),
        (None, "sim-401", 1, None),
    ],
)
async def test_the_caller_knows_better(
    provider: FakeProvider,
    driver: Driver,
    wish: bool | float | timedelta | None,
    model: str,
    attempts: int,
    delay: float | None,
) -> None:
    """on= decides whether a fault is tried again, and after which wait; None leaves it to the client."""
    asked: list[FaultKind] = []

    def decide(fault: Fault) -> bool | float | timedelta | None:
        asked.append(fault.kind)
        return wish

    async with ask(driver, provider, on=decide) as client:
        with pytest.raises(StreamFailed) as caught:
            await client.complete(model)
    assert attempts == len(caught.value.attempts)
    assert [attempt.fault.kind for attempt in caught.value.attempts if attempt.fault] == asked
    if delay is not None:
        assert delay == caught.value.attempts[1].delay


@every_driver
async def test_a_hook_that_raises(
    provider: FakeProvider, recorded: RecordedTelemetry, caplog: pytest.LogCaptureFixture, driver: Driver
) -> None:
    """A mistake in the hook is the caller's: it goes through, every span ends, once, and no connection is left."""

    def decide(fault: Fault) -> bool:
        raise ZeroDivisionError

    async with ask(driver, provider, on=decide) as client:
        with pytest.raises(ZeroDivisionError):
            await client.complete("sim-cut")
        await wait_until(lambda: provider.connection_count == 0)
    assert [("chat sim-cut", {"status": "UNSET"}, [("POST", {"status": "ERROR"}, [])])] == recorded.trees()
    assert [] == caplog.records  # of the SDK of OpenTelemetry, which warns of what is ended twice
