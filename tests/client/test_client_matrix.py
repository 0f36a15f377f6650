"""Every fault, through both APIs, both drivers, and every way that a connection can end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI

from streamcanary import AsyncStreamClient, Attempt, RetryPolicy, StreamClient, StreamFailed, StreamResult
from streamcanary.simulator import FAULTS as BEHAVIOURS
from streamcanary.simulator import Simulator
from support.faults import ANSWER, ANSWERS, CANCELLED, FAULTS, Row, clocks_for
from support.simulator import PATIENT, client_tls, server_tls, until

RETRY = RetryPolicy(max_attempts=2, base_delay=0.001, max_delay=0.001)
QUESTIONS: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "Reply with the single word pong."}]},
    "responses": {"input": "Reply with the single word pong."},
}
TRANSPORTS: dict[str, dict[str, Any]] = {
    "keep-alive": {},
    "close": {"connection": "close"},
    "tls": {"ssl": True},
    "tls-cut": {"ssl": True, "close_notify": False, "connection": "close"},
}


@asynccontextmanager
async def serve(transport: str) -> AsyncIterator[Simulator]:
    options = dict(TRANSPORTS[transport])
    if options.get("ssl"):
        options["ssl"] = server_tls()
    async with Simulator(pace=PATIENT, **options) as simulator:
        yield simulator


async def ask(driver: str, simulator: Simulator, api: str, model: str) -> StreamResult:
    """Ask through one of the two drivers."""
    verify: Any = client_tls() if simulator.base_url.startswith("https") else True
    question = {"model": f"sim-{model}", **QUESTIONS[api]}
    if driver == "async":
        transport = DefaultAsyncHttpxClient(trust_env=False, verify=verify)
        async with AsyncOpenAI(base_url=simulator.base_url, api_key="sk-x", http_client=transport) as sdk:
            return await AsyncStreamClient(sdk, retry=RETRY, timeouts=clocks_for(model)).complete(**question)

    def ask_in_thread() -> StreamResult:
        blocking = DefaultHttpxClient(trust_env=False, verify=verify)
        with OpenAI(base_url=simulator.base_url, api_key="sk-x", http_client=blocking) as sdk:
            return StreamClient(sdk, retry=RETRY, timeouts=clocks_for(model)).complete(**question)

    return await asyncio.to_thread(ask_in_thread)


def told(attempt: Attempt) -> Any:
    """Return what an attempt says, but for its times."""
    fault = attempt.fault
    row = fault and Row(fault.kind, fault.phase, fault.blame, fault.retryable, fault.status)
    return attempt.number, attempt.route, row


every_transport = pytest.mark.parametrize("transport", TRANSPORTS)
every_driver = pytest.mark.parametrize("driver", ["async", "sync"])
every_api = pytest.mark.parametrize("api", ["chat", "responses"])


def test_the_table_is_whole() -> None:
    """Every behaviour of the simulator is in the table, as a fault or as an answer."""
    elsewhere = {"cancelled", "slow-drip", "json-200", "429-retry-after", "429-retry-after-ms", "429-retry-after-date"}
    assert set(BEHAVIOURS) == set(FAULTS) | set(ANSWERS) | elsewhere


@every_transport
@every_driver
@every_api
@pytest.mark.parametrize("model", [*FAULTS, "cancelled"])
async def test_every_fault_is_itself(model: str, api: str, driver: str, transport: str) -> None:
    """Each attempt ends with the fault of the table, as often as it is tried, and no connection is left open."""
    row = FAULTS.get(model) or CANCELLED[api]
    async with serve(transport) as simulator:
        with pytest.raises(StreamFailed) as caught:
            await ask(driver, simulator, api, model)
        expected = [(number, f"sim-{model}", row) for number in range(1, 3 if row.retried else 2)]
        assert expected == [told(attempt) for attempt in caught.value.attempts]
        await until(lambda: simulator.connections == 0)


@every_transport
@every_driver
@every_api
@pytest.mark.parametrize("model", ANSWERS)
async def test_every_answer_is_whole(model: str, api: str, driver: str, transport: str) -> None:
    """Whatever is legal is an answer, at the first attempt, with its finish_reason."""
    async with serve(transport) as simulator:
        result = await ask(driver, simulator, api, model)
    assert [(1, f"sim-{model}", None)] == [told(attempt) for attempt in result.attempts]
    assert (ANSWERS[model], None, api) == (result.finish_reason, result.degraded, result.api)
    assert True is bool(result.text or result.refusal or result.tool_calls)


@every_driver
@every_api
async def test_a_stream_that_only_its_protocol_can_end(api: str, driver: str) -> None:
    """Where a body ends with its connection, a whole answer and a truncated one are still told apart."""
    async with Simulator(pace=PATIENT, connection="eof") as simulator:
        assert ANSWER == (await ask(driver, simulator, api, "ok")).text
        with pytest.raises(StreamFailed) as caught:
            await ask(driver, simulator, api, "truncated")
        assert "stream_truncated" == caught.value.fault.kind


@every_driver
@every_api
async def test_what_does_not_stream_is_degraded(api: str, driver: str) -> None:
    """One JSON body where a stream was asked for is an answer, and not a healthy one."""
    async with serve("keep-alive") as simulator:
        result = await ask(driver, simulator, api, "json-200")
    assert (ANSWER, "non_streaming") == (result.text, result.degraded)


@every_driver
@every_api
@pytest.mark.parametrize("model", ["cut@1", "stall@1", "inband-error@1", "truncated@1", "500@1"])
async def test_a_retry_gives_the_answer_once(model: str, api: str, driver: str) -> None:
    """What the caller ends up with is exactly the answer, whatever came before."""
    async with serve("keep-alive") as simulator:
        result = await ask(driver, simulator, api, model)
    assert (ANSWER, 2, None) == (result.text, len(result.attempts), result.degraded)
    assert (result.text, result.model) == (text_of(result.response), result.response.model)


def text_of(response: Any) -> str:
    """Return the text of the SDK's own object."""
    return response.output_text if hasattr(response, "output_text") else response.choices[0].message.content
