"""Every fault, through both APIs, both drivers, and every way that a connection can be and end.

Each test asks on 36 ways at once: over TCP and TLS, on connections that last or not, both APIs, both drivers.
"""

import asyncio
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, product
from typing import Any

import pytest

from streamcanary import StreamFailed, StreamResult
from streamcanary.model.clock import Clock
from streamcanary.model.faults import FaultKind
from streamcanary.simulator import FAULTS as BEHAVIOURS
from streamcanary.simulator import ConnectionLifetime, Simulator
from support.client.drivers import KEY
from support.client.fault_matrix import (
    CLIENT_VARIANTS,
    LAYERS,
    LIFETIMES,
    RETRY,
    ClientVariant,
    ConstantWallClock,
    MonotonicWallClock,
    expected_attempt,
    final_responses,
    run_simulator,
    summarize_attempt,
    transport_options,
)
from support.client.fault_table import (
    ANSWER_TEXT,
    COMPLETE,
    EXPECTED_ANSWERS,
    EXPECTED_FAULTS,
    FAULTS_TESTED_ELSEWHERE,
    FAULTS_WITHOUT_SIMULATOR,
    RETRIED_BEHAVIOURS,
    expected_fault,
    timeouts_for,
)
from support.servers.simulator import wait_until

Ending = StreamResult | StreamFailed
Check = Callable[[Simulator, Ending, ClientVariant, ConnectionLifetime, str], tuple[Any, Any]]


async def compare(model: str, check: Check) -> None:
    """Ask for ``model`` on every way, and compare what ``check`` expects with what it finds."""
    expected: dict[str, Any] = {}
    actual: dict[str, Any] = {}

    async def play(layer: str, lifetime: ConnectionLifetime, way: ClientVariant) -> None:
        clock: Clock = ConstantWallClock() if "date" in model else MonotonicWallClock()
        name = f"{layer} {lifetime} {way}"
        async with run_simulator(layer, lifetime, clock=clock) as simulator:
            ending = await way.call(
                simulator.base_url,
                f"sim-{model}",
                transport=transport_options(layer),
                timeouts=timeouts_for(model),
                clock=clock,
            )
            await wait_until(lambda: simulator.connection_count == 0)
            assert_timely(ending, clock)
            expected[name], actual[name] = check(simulator, ending, way, lifetime, layer)

    asyncio.get_running_loop().set_default_executor(
        ThreadPoolExecutor(len(LAYERS) * len(LIFETIMES) * len(CLIENT_VARIANTS))
    )
    await asyncio.gather(*(play(*each) for each in product(LAYERS, LIFETIMES, CLIENT_VARIANTS)))
    assert expected == actual


def assert_timely(ending: Ending, clock: Clock) -> None:
    """Check that each attempt begins after the one before it and its delay, and has its first token within its time."""
    for attempt in ending.attempts:
        assert 0.0 <= (attempt.time_to_first_token or 0.0) <= attempt.duration
    for before, after in pairwise(ending.attempts):
        waited = 0.0 if isinstance(clock, ConstantWallClock) else before.duration + after.delay
        assert before.started + waited <= after.started + 0.001  # as exact as seconds since the epoch are


def assert_fit_to_show(failure: StreamFailed) -> None:
    """Check that what people may see of a failure says something, not too much, and not the key."""
    assert failure.attempts[-1].fault is failure.fault
    for attempt in failure.attempts:
        assert attempt.fault is not None
        assert 0 < len(attempt.fault.message) <= 500
    assert KEY not in "".join(traceback.format_exception(failure)) + repr((failure, failure.attempts))


def test_the_table_is_whole() -> None:
    """Every behaviour of the simulator is in it, once, and every kind of fault is the end of a row, or has a reason."""
    assert sorted(BEHAVIOURS) == sorted([*EXPECTED_FAULTS, *EXPECTED_ANSWERS])
    ends = {row.kind for row in (*EXPECTED_FAULTS.values(), *FAULTS_WITHOUT_SIMULATOR.values())}
    assert set(FaultKind) - set(FAULTS_TESTED_ELSEWHERE) == ends
    assert True is all(FAULTS_TESTED_ELSEWHERE.values())


@pytest.mark.parametrize("model", EXPECTED_FAULTS)
async def test_every_fault_is_itself(model: str) -> None:
    """Each attempt ends as its row says, as often as it is tried, and no connection is left open."""

    def check(
        simulator: Simulator, ending: Ending, way: ClientVariant, lifetime: ConnectionLifetime, layer: str
    ) -> tuple[Any, Any]:
        assert isinstance(ending, StreamFailed)
        assert_fit_to_show(ending)
        row = expected_fault(model, way.api, way.driver, lifetime, layer)
        delays = [0.0, max(RETRY.max_delay, row.retry_after or 0.0)] if row.is_retried else [0.0]
        expected = [
            expected_attempt(number, f"sim-{model}", row, sent, way.api, delay=delay)
            for number, (delay, sent) in enumerate(zip(delays, final_responses(simulator), strict=True), 1)
        ]
        partial = ANSWER_TEXT[: len(ending.partial_text)]
        return (expected, partial, row.received.token), (
            [summarize_attempt(attempt, most=most_of(model, way)) for attempt in ending.attempts],
            ending.partial_text,
            bool(ending.partial_text),
        )

    await compare(model, check)


@pytest.mark.parametrize("model", EXPECTED_ANSWERS)
async def test_every_answer_is_whole(model: str) -> None:
    """Whatever is legal is an answer, at once, with its finish_reason; what does not stream is degraded."""
    whole = EXPECTED_ANSWERS[model]

    def check(
        simulator: Simulator, ending: Ending, way: ClientVariant, lifetime: ConnectionLifetime, layer: str
    ) -> tuple[Any, Any]:
        assert isinstance(ending, StreamResult)
        [sent] = final_responses(simulator)
        expected = [expected_attempt(1, f"sim-{model}", None, sent, way.api, received=whole.received)]
        degraded = "non_streaming" if model == "json-200" else None
        return (expected, whole.text, True, whole.finish_reason, degraded, way.api, sent.request_id), (
            [summarize_attempt(attempt) for attempt in ending.attempts],
            ending.text,
            bool(ending.text or ending.refusal or ending.tool_calls),
            ending.finish_reason,
            ending.degraded,
            ending.api,
            ending.request_id,
        )

    await compare(model, check)


@pytest.mark.parametrize("fault", RETRIED_BEHAVIOURS)
async def test_a_retry_gives_the_answer_once(fault: str) -> None:
    """What the caller ends up with is exactly the answer, whatever came before it."""
    model = f"{fault}@1"

    def check(
        simulator: Simulator, ending: Ending, way: ClientVariant, lifetime: ConnectionLifetime, layer: str
    ) -> tuple[Any, Any]:
        assert isinstance(ending, StreamResult)
        row = expected_fault(fault, way.api, way.driver, lifetime, layer)
        first, second = final_responses(simulator)
        delay = max(RETRY.max_delay, row.retry_after or 0.0)
        expected = [
            expected_attempt(1, f"sim-{model}", row, first, way.api),
            expected_attempt(2, f"sim-{model}", None, second, way.api, received=COMPLETE, delay=delay),
        ]
        response = ending.response
        return (expected, ANSWER_TEXT, ANSWER_TEXT, f"sim-{model}", None, second.request_id), (
            [
                summarize_attempt(attempt, most=most)
                for attempt, most in zip(ending.attempts, (most_of(fault, way), None), strict=True)
            ],
            ending.text,
            text_of(response),
            response.model,
            ending.degraded,
            ending.request_id,
        )

    await compare(model, check)


def most_of(behaviour: str, way: ClientVariant) -> int | None:
    """Return up to where chunks are counted: an endless behaviour sends some more until a clock strikes."""
    return EXPECTED_FAULTS[behaviour].received.for_api(way.api) if behaviour == "empty-deltas" else None


def text_of(response: Any) -> str:
    """Return the text of the SDK's own object."""
    return response.output_text if hasattr(response, "output_text") else response.choices[0].message.content
