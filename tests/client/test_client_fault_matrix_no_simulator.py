"""Faults that the simulator cannot produce, through both APIs and both drivers: config errors, network, deadlines."""

import asyncio
import traceback
from typing import Any

import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI

from streamcanary import AsyncStreamClient, BreakerPolicy, RetryPolicy, StreamClient, StreamFailed
from streamcanary.model.faults import Blame, FaultKind, Phase
from support.client.drivers import KEY
from support.client.fault_matrix import (
    CLIENT_VARIANTS,
    REQUESTS,
    RETRY,
    ClientVariant,
    expected_attempt,
    run_simulator,
    summarize_attempt,
)
from support.client.fault_scenarios import KEY_HALVES, NON_ASCII_KEY, SCENARIOS, http_server
from support.client.fault_table import FAULTS_WITHOUT_SIMULATOR
from support.servers.simulator import APIS, Api, wait_until
from support.servers.tcp import http_response

SECRETS = (KEY, NON_ASCII_KEY, *KEY_HALVES)

every_variant = pytest.mark.parametrize("variant", CLIENT_VARIANTS, ids=str)


def displayed_text(failure: StreamFailed) -> str:
    """Return everything displayable of a failure: its traceback with causes, and its representation."""
    return "".join(traceback.format_exception(failure)) + repr((failure, failure.fault, failure.attempts))


def test_every_row_has_a_scenario() -> None:
    """The rows without a simulator are those with a scenario."""
    assert set(FAULTS_WITHOUT_SIMULATOR) == set(SCENARIOS)


@every_variant
@pytest.mark.parametrize("name", FAULTS_WITHOUT_SIMULATOR)
async def test_fault_matches_its_row(name: str, variant: ClientVariant) -> None:
    """Each attempt ends with the fault of its row, and no displayed text contains the key."""
    row = FAULTS_WITHOUT_SIMULATOR[name]
    async with SCENARIOS[name](variant) as scenario:
        failure = await scenario.run(variant)
        if scenario.simulator is not None:
            await wait_until(lambda: scenario.simulator is not None and scenario.simulator.connection_count == 0)
        sent = scenario.simulator.responses if scenario.simulator is not None else []
    assert isinstance(failure, StreamFailed)
    last = name.startswith("deadline")  # no further attempt fits before the deadline
    expected = [
        expected_attempt(number, scenario.model, row, sent[0] if sent else None, variant.api, delay=delay)
        for number, delay in enumerate([0.0, RETRY.max_delay] if row.is_retried and not last else [0.0], 1)
    ]
    assert expected == [summarize_attempt(attempt) for attempt in failure.attempts]
    assert failure.fault is failure.attempts[-1].fault
    assert 0 < len(failure.fault.message) <= 500
    assert [] == [secret for secret in SECRETS if secret in displayed_text(failure)]


@every_variant
async def test_open_circuit_sends_no_request(variant: ClientVariant) -> None:
    """With a circuit that stays open for long the call fails at once, without an attempt, with blame local."""
    async with run_simulator("plain") as simulator:
        failure = await variant.call(
            simulator.base_url,
            "sim-500",
            times=2,
            retry=RetryPolicy(max_attempts=1),
            breaker=BreakerPolicy(min_calls=1, failure_rate=1, first_open_for=30),
        )
        assert 1 == len(simulator.requests)
    assert isinstance(failure, StreamFailed)
    fault = failure.fault
    assert (FaultKind.CIRCUIT_OPEN, Phase.CONFIG, Blame.LOCAL, False, ()) == (
        fault.kind,
        fault.phase,
        fault.blame,
        fault.retryable,
        failure.attempts,
    )


LEAVING = [("no-headers", Phase.HEADERS), ("pings", Phase.STREAM), ("keepalive-stall", Phase.STREAM)]
"""The behaviour that the caller waits for, and the phase of the attempt."""


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(("model", "phase"), LEAVING)
async def test_cancelled_task_cancels_the_attempt(model: str, phase: Phase, api: Api) -> None:
    """The caller gets only the cancellation, and the attempt is cancelled with blame local."""
    async with (
        run_simulator("plain") as simulator,
        AsyncOpenAI(
            base_url=simulator.base_url, api_key=KEY, http_client=DefaultAsyncHttpxClient(trust_env=False)
        ) as sdk,
    ):
        stream: Any = AsyncStreamClient(sdk).stream(model=f"sim-{model}", **REQUESTS[api])
        task = asyncio.create_task(stream.until_done())
        await wait_until(
            lambda: [sent.status for sent in simulator.responses] == [None if phase is Phase.HEADERS else 200]
        )
        await wait_until(lambda: stream._call.machine is not None and stream._call.machine.phase is phase)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_until(lambda: simulator.connection_count == 0)
    assert_attempt_cancelled(stream, phase)


@pytest.mark.parametrize("api", APIS)
async def test_leaving_a_sync_stream_cancels_the_attempt(api: Api) -> None:
    """A caller who leaves a synchronous stream cancels the attempt with blame local."""

    def leave(base_url: str) -> Any:
        with OpenAI(base_url=base_url, api_key=KEY, http_client=DefaultHttpxClient(trust_env=False)) as sdk:
            with StreamClient(sdk).stream(model="sim-keepalive-stall", **REQUESTS[api]) as stream:  # type: ignore[call-overload]
                for event in stream:
                    if event.type == "content.delta":
                        break
            return stream

    async with run_simulator("plain") as simulator:
        stream = await asyncio.to_thread(leave, simulator.base_url)
        await wait_until(lambda: simulator.connection_count == 0)
    assert_attempt_cancelled(stream, Phase.STREAM)


def assert_attempt_cancelled(stream: Any, phase: Phase) -> None:
    """Check the only attempt, through private attributes, because the caller gets no result."""
    [attempt] = stream._call.attempts
    fault = attempt.fault
    assert (FaultKind.CANCELLED, phase, Blame.LOCAL, False) == (fault.kind, fault.phase, fault.blame, fault.retryable)
    assert (None if phase is Phase.HEADERS else 200) == fault.status
    with pytest.raises(RuntimeError, match="no result yet"):
        _ = stream.result


REPEATED_KEY = {
    "in an error": lambda key: http_response(
        400, {"error": {"message": f"bad {key}", "code": f"x{key}"}}, x_request_id=key
    ),
    "in an error as text": lambda key: http_response(500, f"no service for {key}", "text/plain"),
    "in an error with status 200": lambda key: http_response(200, {"error": {"message": f"bad {key}", "type": key}}),
    "in the stream": lambda key: http_response(
        200, f'data: {{"error": {{"message": "bad {key}"}}}}\n\n', "text/event-stream"
    ),
    "in broken JSON": lambda key: http_response(200, f"data: {{{key}\n\n", "text/event-stream", x_request_id=key),
    "in a content type": lambda key: http_response(200, "x", f"text/{key}"),
    "in a redirect": lambda key: http_response(302, location=f"/v1/{key}?key={key}"),
    "in a status line": lambda key: f"HTTP/1.1 {key}\r\n\r\n".encode(),
}
"""Where a server may repeat the key from the request."""


@every_variant
@pytest.mark.parametrize("where", REPEATED_KEY)
async def test_repeated_key_is_scrubbed(where: str, variant: ClientVariant) -> None:
    """A key that the server repeats appears in no message, code or id, and nowhere in the exception."""

    def repeat(head: str) -> bytes:
        key = head.partition("uthorization: Bearer ")[2].partition("\r\n")[0]
        assert KEY == key
        return REPEATED_KEY[where](key)

    async with http_server(repeat) as server:
        failure = await variant.call(server.base_url, "m", retry=RetryPolicy(max_attempts=1))
    assert isinstance(failure, StreamFailed)
    assert False is (KEY in displayed_text(failure))
