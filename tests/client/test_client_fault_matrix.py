"""Every fault through both APIs, both drivers, and every connection layer and lifetime.

Each test makes 36 calls at once: over TCP and TLS, with each connection lifetime, both APIs and both drivers.
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

Outcome = StreamResult | StreamFailed
Check = Callable[[Simulator, Outcome, ClientVariant, ConnectionLifetime, str], tuple[Any, Any]]


async def compare_all_variants(model: str, check: Check) -> None:
    """Call ``model`` with every variant, and compare the expected with the actual values of ``check``."""
    expected: dict[str, Any] = {}
    actual: dict[str, Any] = {}

    async def call_variant(layer: str, lifetime: ConnectionLifetime, variant: ClientVariant) -> None:
        clock: Clock = ConstantWallClock() if "date" in model else MonotonicWallClock()
        name = f"{layer} {lifetime} {variant}"
        async with run_simulator(layer, lifetime, clock=clock) as simulator:
            outcome = await variant.call(
                simulator.base_url,
                f"sim-{model}",
                transport=transport_options(layer),
                timeouts=timeouts_for(model),
                clock=clock,
            )
            await wait_until(lambda: simulator.connection_count == 0)
            assert_attempt_times(outcome, clock)
            expected[name], actual[name] = check(simulator, outcome, variant, lifetime, layer)

    asyncio.get_running_loop().set_default_executor(
        ThreadPoolExecutor(len(LAYERS) * len(LIFETIMES) * len(CLIENT_VARIANTS))
    )
    await asyncio.gather(*(call_variant(*each) for each in product(LAYERS, LIFETIMES, CLIENT_VARIANTS)))
    assert expected == actual


def assert_attempt_times(outcome: Outcome, clock: Clock) -> None:
    """Check that attempts start after the previous one and its delay, and get a first token within their duration."""
    for attempt in outcome.attempts:
        assert 0.0 <= (attempt.time_to_first_token or 0.0) <= attempt.duration
    for before, after in pairwise(outcome.attempts):
        waited = 0.0 if isinstance(clock, ConstantWallClock) else before.duration + after.delay
        assert before.started + waited <= after.started + 0.001  # the precision of epoch seconds as a float


def assert_failure_is_safe_to_display(failure: StreamFailed) -> None:
    """Check that the messages of a failure are not empty, are bounded, and do not contain the key."""
    assert failure.attempts[-1].fault is failure.fault
    for attempt in failure.attempts:
        assert attempt.fault is not None
        assert 0 < len(attempt.fault.message) <= 500
    assert KEY not in "".join(traceback.format_exception(failure)) + repr((failure, failure.attempts))


def test_fault_table_is_complete() -> None:
    """Every behaviour of the simulator is in the table once, and every fault kind has a row or a reason."""
    assert sorted(BEHAVIOURS) == sorted([*EXPECTED_FAULTS, *EXPECTED_ANSWERS])
    ends = {row.kind for row in (*EXPECTED_FAULTS.values(), *FAULTS_WITHOUT_SIMULATOR.values())}
    assert set(FaultKind) - set(FAULTS_TESTED_ELSEWHERE) == ends
    assert True is all(FAULTS_TESTED_ELSEWHERE.values())


@pytest.mark.parametrize("model", EXPECTED_FAULTS)
async def test_fault_matches_its_row(model: str) -> None:
    """Each attempt ends with the fault of its row, is retried as the row says, and leaves no connection open."""

    def check(
        simulator: Simulator, outcome: Outcome, variant: ClientVariant, lifetime: ConnectionLifetime, layer: str
    ) -> tuple[Any, Any]:
        assert isinstance(outcome, StreamFailed)
        assert_failure_is_safe_to_display(outcome)
        row = expected_fault(model, variant.api, variant.driver, lifetime, layer)
        delays = [0.0, max(RETRY.max_delay, row.retry_after or 0.0)] if row.is_retried else [0.0]
        expected = [
            expected_attempt(number, f"sim-{model}", row, sent, variant.api, delay=delay)
            for number, (delay, sent) in enumerate(zip(delays, simulator.responses, strict=True), 1)
        ]
        partial = ANSWER_TEXT[: len(outcome.partial_text)]
        return (expected, partial, row.received.has_text), (
            [summarize_attempt(attempt, max_chunks=chunk_limit(model, variant)) for attempt in outcome.attempts],
            outcome.partial_text,
            bool(outcome.partial_text),
        )

    await compare_all_variants(model, check)


@pytest.mark.parametrize("model", EXPECTED_ANSWERS)
async def test_valid_answer_is_complete(model: str) -> None:
    """Every valid response is an answer at the first attempt; one that is not streamed is degraded."""
    whole = EXPECTED_ANSWERS[model]

    def check(
        simulator: Simulator, outcome: Outcome, variant: ClientVariant, lifetime: ConnectionLifetime, layer: str
    ) -> tuple[Any, Any]:
        assert isinstance(outcome, StreamResult)
        [sent] = simulator.responses
        expected = [expected_attempt(1, f"sim-{model}", None, sent, variant.api, received=whole.received)]
        degraded = "non_streaming" if model == "json-200" else None
        return (expected, whole.text, True, whole.finish_reason, degraded, variant.api, sent.request_id), (
            [summarize_attempt(attempt) for attempt in outcome.attempts],
            outcome.text,
            bool(outcome.text or outcome.refusal or outcome.tool_calls),
            outcome.finish_reason,
            outcome.degraded,
            outcome.api,
            outcome.request_id,
        )

    await compare_all_variants(model, check)


@pytest.mark.parametrize("fault", RETRIED_BEHAVIOURS)
async def test_retry_delivers_the_answer_once(fault: str) -> None:
    """After one fault of any kind, the caller receives exactly the answer."""
    model = f"{fault}@1"

    def check(
        simulator: Simulator, outcome: Outcome, variant: ClientVariant, lifetime: ConnectionLifetime, layer: str
    ) -> tuple[Any, Any]:
        assert isinstance(outcome, StreamResult)
        row = expected_fault(fault, variant.api, variant.driver, lifetime, layer)
        first, second = simulator.responses
        delay = max(RETRY.max_delay, row.retry_after or 0.0)
        expected = [
            expected_attempt(1, f"sim-{model}", row, first, variant.api),
            expected_attempt(2, f"sim-{model}", None, second, variant.api, received=COMPLETE, delay=delay),
        ]
        response = outcome.response
        return (expected, ANSWER_TEXT, ANSWER_TEXT, f"sim-{model}", None, second.request_id), (
            [
                summarize_attempt(attempt, max_chunks=max_chunks)
                for attempt, max_chunks in zip(outcome.attempts, (chunk_limit(fault, variant), None), strict=True)
            ],
            outcome.text,
            response_text(response),
            response.model,
            outcome.degraded,
            outcome.request_id,
        )

    await compare_all_variants(model, check)


def chunk_limit(behaviour: str, variant: ClientVariant) -> int | None:
    """Return the bound for the chunk count: an endless behaviour sends more until a timeout expires."""
    return EXPECTED_FAULTS[behaviour].received.for_api(variant.api) if behaviour == "empty-deltas" else None


def response_text(response: Any) -> str:
    """Return the text of an SDK response object."""
    return response.output_text if hasattr(response, "output_text") else response.choices[0].message.content
