"""Spans and metrics of calls: every attempt is recorded and matches the result."""

import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from streamcanary import AsyncStreamClient, RetryPolicy, Route, StreamFailed, Timeouts
from streamcanary.events import ContentDelta
from streamcanary.simulator import Simulator, Timings
from support.servers.simulator import HANGING_TIMINGS
from support.telemetry.in_memory import RecordedTelemetry

MESSAGES = [{"role": "user", "content": "Reply with the single word pong."}]
KEYS = (
    "error.type",
    "http.request.resend_count",
    "http.response.status_code",
    "streamcanary.attempts",
    "streamcanary.blame",
    "gen_ai.response.model",
    "gen_ai.response.finish_reasons",
)


@pytest.fixture
async def client(recorded: RecordedTelemetry) -> AsyncIterator[AsyncStreamClient]:
    transport = DefaultAsyncHttpxClient(trust_env=False)
    async with (
        Simulator(timings=HANGING_TIMINGS) as simulator,
        AsyncOpenAI(base_url=simulator.base_url, api_key="sk-x", http_client=transport) as sdk,
    ):
        yield AsyncStreamClient(
            sdk,
            retry=RetryPolicy(max_attempts=2, base_delay=0.001, max_delay=0.001),
            timeouts=Timeouts(stall=0.3),
            labels={"canary": "c"},
        )


async def test_complete_answer_has_one_attempt_span(client: AsyncStreamClient, recorded: RecordedTelemetry) -> None:
    """A complete answer has a call span and one attempt span, both with status unset."""
    await client.complete(model="sim-ok", messages=MESSAGES)
    attempt = ("POST", {"status": "UNSET", "http.response.status_code": 200}, [])
    call = {
        "status": "UNSET",
        "streamcanary.attempts": 1,
        "gen_ai.response.model": "sim-ok",
        "gen_ai.response.finish_reasons": ("stop",),
    }
    assert [("chat sim-ok", call, [attempt])] == recorded.trees(*KEYS)


async def test_successful_retry_is_recorded(client: AsyncStreamClient, recorded: RecordedTelemetry) -> None:
    """The failed attempt span is an error, the call span is not, and the second attempt has a resend count."""
    await client.complete(model="sim-cut@1", messages=MESSAGES)
    ((name, call, attempts),) = recorded.trees(*KEYS)
    assert ("chat sim-cut@1", "UNSET", 2) == (name, call["status"], call["streamcanary.attempts"])
    assert [
        {
            "status": "ERROR",
            "error.type": "stream_cut",
            "streamcanary.blame": "network",
            "http.response.status_code": 200,
        },
        {"status": "UNSET", "http.request.resend_count": 1, "http.response.status_code": 200},
    ] == [attributes for _, attributes, _ in attempts]
    events = [event.name for span in recorded.spans for event in span.events]
    assert {"streamcanary.first_token": 2, "streamcanary.retry.scheduled": 1} == {
        name: events.count(name) for name in set(events)
    }


@pytest.mark.parametrize(
    ("model", "kind", "attempts"),
    [
        ("sim-reset", "connection_lost", 2),
        ("sim-500", "server_error", 2),
        ("sim-401", "auth_failed", 1),
        ("sim-cut", "stream_cut", 2),
        ("sim-stall", "stalled", 2),
        ("sim-truncated", "stream_truncated", 2),
        ("sim-inband-error", "server_error", 2),
        ("sim-empty", "empty_answer", 2),
    ],
)
async def test_every_failure_is_recorded(
    client: AsyncStreamClient, recorded: RecordedTelemetry, model: str, kind: str, attempts: int
) -> None:
    """A failed call and each of its attempts have the same error.type on spans and metrics."""
    before = recorded.value("streamcanary.attempts", error__type=kind, outcome="fault", route=model)
    with pytest.raises(StreamFailed):
        await client.complete(model=model, messages=MESSAGES)
    ((_, call, children),) = recorded.trees("error.type")
    assert {"status": "ERROR", "error.type": kind} == call
    assert [{"status": "ERROR", "error.type": kind}] * attempts == [attributes for _, attributes, _ in children]
    after = recorded.value("streamcanary.attempts", error__type=kind, outcome="fault", route=model)
    assert attempts == after - before


async def test_fallback_is_another_attempt_span(client: AsyncStreamClient, recorded: RecordedTelemetry) -> None:
    """The attempt on a fallback route is another child span, and the call names the model that answered."""
    client = client.with_options(fallbacks=[Route(model="sim-ok")])
    await client.complete(model="sim-401", messages=MESSAGES)
    ((name, call, attempts),) = recorded.trees("streamcanary.route", "gen_ai.response.model", "streamcanary.degraded")
    assert ("chat sim-401", "sim-ok", "fallback") == (
        name,
        call["gen_ai.response.model"],
        call["streamcanary.degraded"],
    )
    assert ["sim-401", "sim-ok"] == [attributes["streamcanary.route"] for _, attributes, _ in attempts]


async def test_an_attempt_has_what_the_response_reports(recorded: RecordedTelemetry) -> None:
    """Rate limits, output speed, fingerprint and tier, and the sunset are on the spans."""
    transport = DefaultAsyncHttpxClient(trust_env=False)
    async with (
        Simulator(timings=Timings(first_token=0.0, chunk_gap=0.002)) as simulator,
        AsyncOpenAI(base_url=simulator.base_url, api_key="sk-x", http_client=transport) as sdk,
    ):
        client = AsyncStreamClient(sdk)
        await client.complete(model="sim-low-quota", messages=MESSAGES)
        await client.complete(model="sim-retiring", messages=MESSAGES)
    attributes: list[dict[str, Any]] = [dict(span.attributes or {}) for span in recorded.spans]
    low_quota, call, retiring, _ = attributes
    limits = {name: value for name, value in low_quota.items() if name.startswith("streamcanary.ratelimit.")}
    assert {
        "streamcanary.ratelimit.requests.remaining": 9999,
        "streamcanary.ratelimit.requests.limit": 10_000,
        "streamcanary.ratelimit.requests.reset": 0.006,
        "streamcanary.ratelimit.tokens.remaining": 6000,
        "streamcanary.ratelimit.tokens.limit": 200_000,
        "streamcanary.ratelimit.tokens.reset": 58.2,
    } == limits
    assert (True, True) == (low_quota["streamcanary.output.speed"] > 0, low_quota["streamcanary.output.estimated"])
    assert ("fp_simulator", "default") == (
        call["openai.response.system_fingerprint"],
        call["openai.response.service_tier"],
    )
    assert 90 * 86_400 == retiring["streamcanary.sunset"] - retiring["streamcanary.deprecation"]
    assert (True, True) == (retiring["streamcanary.deprecated"], "streamcanary.deprecated" not in low_quota)


async def test_gaps_of_an_answer_that_stalled_are_on_its_attempt(recorded: RecordedTelemetry) -> None:
    """The span of an attempt has the gaps up to the fault, although the call has no answer."""
    transport = DefaultAsyncHttpxClient(trust_env=False)
    async with (
        Simulator(timings=Timings(first_token=0.0, chunk_gap=0.002)) as simulator,
        AsyncOpenAI(base_url=simulator.base_url, api_key="sk-x", http_client=transport) as sdk,
    ):
        client = AsyncStreamClient(sdk, timeouts=Timeouts(stall=0.3), retry=RetryPolicy(max_attempts=1))
        with pytest.raises(StreamFailed):
            await client.complete(model="sim-stall", messages=MESSAGES)
    [attempt] = [dict(span.attributes or {}) for span in recorded.spans if span.name == "POST"]
    assert "stalled" == attempt["error.type"]
    gaps: list[Any] = [attempt[f"streamcanary.{name}"] for name in ("median_gap", "max_gap")]
    assert True is (0 < gaps[0] <= gaps[1] < 0.3)


@pytest.mark.parametrize("exit_mode", ["break", "drop"])
async def test_leaving_a_stream_is_not_an_error(
    client: AsyncStreamClient, recorded: RecordedTelemetry, exit_mode: str
) -> None:
    """Every span ends without an error, the attempt is counted as cancelled only, and no stream remains active."""

    def counted() -> tuple[float, ...]:
        outcomes = ("ok", "fault", "cancelled")
        return tuple(recorded.value("streamcanary.attempts", route="sim-stall", outcome=each) for each in outcomes)

    ok, fault, cancelled = counted()
    active = recorded.value("streamcanary.streams.active")
    stream = client.stream(model="sim-stall", messages=MESSAGES)
    async for event in stream:
        if isinstance(event, ContentDelta):
            break
    response = stream._response
    if exit_mode == "break":
        await stream.close()
    del stream
    gc.collect()
    if exit_mode == "drop" and response is not None:
        await response.aclose()
    assert [("chat sim-stall", {"status": "UNSET"}, [("POST", {"status": "UNSET"}, [])])] == recorded.trees()
    assert (ok, fault, cancelled + 1) == counted()
    assert 0 == recorded.value("streamcanary.attempts", error__type="cancelled")
    assert active == recorded.value("streamcanary.streams.active")


async def test_attempt_span_lies_within_call_span(client: AsyncStreamClient, recorded: RecordedTelemetry) -> None:
    """The attempt span lies within the call span."""
    await client.complete(model="sim-ok", messages=MESSAGES)
    attempt, call = recorded.spans
    assert call.start_time and attempt.start_time and attempt.end_time and call.end_time
    assert True is (call.start_time <= attempt.start_time <= attempt.end_time <= call.end_time)
