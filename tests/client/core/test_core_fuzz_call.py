"""Properties of a call for any sequence of attempt results, without I/O and on a manual clock."""

from collections.abc import Iterator
from itertools import cycle, islice
from random import Random
from typing import Any

import httpx2
from hypothesis import given
from hypothesis import strategies as st
from openai import APIConnectionError, APIStatusError

from streamcanary.client.circuit_breaker import BreakerPolicy, CircuitBreaker
from streamcanary.client.core.attempt import Api
from streamcanary.client.core.call import Call, CallState
from streamcanary.client.core.plan import Plan, PlannedRoute
from streamcanary.client.core.response_head import ResponseHead
from streamcanary.client.instrumentation.call_recorder import CallRecorder
from streamcanary.client.instrumentation.instruments import Instruments
from streamcanary.client.result import StreamResult
from streamcanary.client.retry_budget import RetryBudget
from streamcanary.client.retry_policy import RetryPolicy
from streamcanary.client.timeouts import Timeouts
from streamcanary.events import Completed, Event, Restarted
from support.client.calls import MaxJitter
from support.client.stream_strategies import (
    APIS,
    broken_streams,
    join_deltas,
    split,
    split_points,
    sse_like_bytes,
    streams,
)
from support.clock import ManualClock
from support.hypothesis_profile import count_example, examples, report_example_count
from support.telemetry.open_spans import OpenSpans

__all__ = ["report_example_count"]

AttemptScript = dict[str, Any]
"""What happens in one attempt."""

TIMEOUTS = Timeouts(connect=1, headers=2, first_token=5, stall=3, total=60)
EVENT_STREAM = ResponseHead(200, {"content-type": "text/event-stream"})
CACHED_RESULT = StreamResult(text="kept", finish_reason="stop")
REQUEST = httpx2.Request("POST", "http://provider.test/v1/chat/completions")

_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(["text/event-stream; charset=utf-8", "application/json", "text/html", ""]),
        "retry-after": st.one_of(
            st.sampled_from(["1", "-1", "nan", "1e9", "Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 1 Jan 0001 00:00 +9999"]),
            st.text(max_size=20),
        ),
        "retry-after-ms": st.sampled_from(["0", "20", "x"]),
        "x-should-retry": st.sampled_from(["true", "false"]),
        "x-request-id": st.text(max_size=10),
    },
)
_BODIES = st.one_of(
    streams().map(lambda stream: stream.data), broken_streams().map(lambda broken: broken[1]), sse_like_bytes
)
_SCRIPTS = st.fixed_dictionaries(
    {
        "start": st.sampled_from(["head", "head", "head", "head", "refused", "status", "timed_out"]),
        "status": st.sampled_from([200, 200, 200, 204, 302, 400, 401, 403, 404, 408, 429, 500, 503, 529, 599]),
        "headers": _HEADERS,
        "streams": st.sampled_from([True, True, False]),
        "body": _BODIES,
        "where": split_points,
        "pause": st.sampled_from([0.0, 0.0, 0.01, 1.0, 4.0, 100.0]),
        "ending": st.sampled_from(["eof", "reset", "timed_out"]),
    }
)


class ScriptedDriver:
    """Drives a call as a driver does, with a script per attempt in place of a network.

    ``events`` are those that the caller received. The caller leaves after ``leave_after`` events, if that is not None.
    """

    def __init__(self, call: Call, clock: ManualClock, leave_after: int | None) -> None:
        self._call = call
        self._clock = clock
        self._leave_after = leave_after
        self.events: list[Event] = []

    def run_attempts(self, scripts: Iterator[AttemptScript]) -> None:
        """Run one script per attempt until the call has ended."""
        call = self._call
        self._take()
        while call.state is not CallState.ENDED:
            self._clock.advance(max(0.0, call.next_attempt_at - self._clock.monotonic()))
            call.start_attempt()
            self._take()
            script = next(scripts)
            if call.state is CallState.SENDING:
                self._open(script)
            if call.state is CallState.READING:
                self._read(script)
            self._take()

    def _open(self, script: AttemptScript) -> None:
        headers = httpx2.Headers({name: value.encode() for name, value in script["headers"].items()})
        match script["start"]:
            case "timed_out":
                self._advance(1000)
            case "refused":
                error = APIConnectionError(request=REQUEST)
                error.__cause__ = httpx2.ConnectError("refused")
                self._call.connection_lost(error)
            case "status" if script["status"] >= 300:
                response = httpx2.Response(script["status"], headers=headers, request=REQUEST)
                self._call.connection_lost(
                    APIStatusError("no", response=response, body={"error": {"code": "api_error"}})
                )
            case _:
                self._call.headers_received(
                    EVENT_STREAM if script["streams"] else ResponseHead(script["status"], headers)
                )

    def _read(self, script: AttemptScript) -> None:
        call = self._call
        for piece in split(script["body"], script["where"]):
            self._take()
            if call.state is not CallState.READING or self._advance(script["pause"]):
                return
            call.feed(piece)
        self._take()
        if call.state is not CallState.READING:
            return
        match script["ending"]:
            case "eof":
                call.feed_eof()
            case "reset":
                call.connection_lost(httpx2.ReadError("reset"))
            case _:
                self._advance(1000)

    def _take(self) -> None:
        self.events.extend(self._call.events)
        self._call.events.clear()
        if self._leave_after is not None and len(self.events) >= self._leave_after:
            self._call.cancel()

    def _advance(self, seconds: float) -> bool:
        """Advance the clock by ``seconds``, at most to the deadline; return whether the deadline expired."""
        remaining = self._call.deadline - self._clock.monotonic()
        self._clock.advance(max(0.0, min(seconds, remaining)))
        if seconds >= remaining:
            self._call.deadline_exceeded()
        return seconds >= remaining


def make_route(index: int, kind: Any, breaker: CircuitBreaker | None) -> PlannedRoute:
    cache_lookup = (lambda now: CACHED_RESULT if int(now) % 2 else None) if kind == "cache" else None
    return PlannedRoute(
        index=index, name=f"{kind}{index}", timeouts=TIMEOUTS, kind=kind, cache_lookup=cache_lookup, breaker=breaker
    )


@examples(sample=120, fuzz=12_000)
@given(
    scripts=st.lists(_SCRIPTS, min_size=1, max_size=4),
    api=st.sampled_from(APIS),
    on_partial=st.sampled_from(["restart", "fail", "buffer"]),
    fallbacks=st.lists(st.sampled_from(["stream", "whole", "cache"]), max_size=2),
    retry_decision=st.sampled_from([None, None, None, True, False, 0.5]),
    has_breaker=st.booleans(),
    leave_after=st.one_of(st.none(), st.integers(0, 6)),
    seed=st.integers(0, 9),
)
def test_call_ends_as_an_answer_or_a_fault(
    part: int,
    scripts: list[AttemptScript],
    api: Api,
    on_partial: Any,
    fallbacks: list[str],
    retry_decision: Any,
    has_breaker: bool,
    leave_after: int | None,
    seed: int,
) -> None:
    """Any sequence of attempts ends the call once, in time, with every span ended and a consistent result."""
    count_example()
    clock, spans = ManualClock(), OpenSpans()
    breaker = CircuitBreaker(BreakerPolicy(min_calls=1, open_for=1), MaxJitter()) if has_breaker else None
    plan = Plan(
        [make_route(index, kind, breaker) for index, kind in enumerate(["stream", *fallbacks])],
        RetryPolicy(max_attempts=3, base_delay=1, max_delay=4),
        random=Random(seed),  # noqa: S311 - reproducible jitter
        deadline=clock.monotonic() + TIMEOUTS.total,
        budget=RetryBudget(10),
        on=lambda fault: retry_decision,
    )
    instruments = Instruments()
    instruments.tracer = spans.tracer
    recorder = CallRecorder(instruments, model="m", labels={}, request_attributes={}, url="http://provider.test/")
    started = clock.monotonic()
    call = Call(plan, api=api, total=TIMEOUTS.total, on_partial=on_partial, clock=clock, recorder=recorder)
    driver = ScriptedDriver(call, clock, leave_after)
    driver.run_attempts(islice(cycle(scripts), 8))

    assert (0, False) == (spans.open, call.result is not None and call.failure is not None)
    assert clock.monotonic() - started <= TIMEOUTS.total + 1e-6
    assert list(range(1, len(call.attempts) + 1)) == [attempt.number for attempt in call.attempts]
    assert len(call.attempts) <= 3 + len(fallbacks)
    restarts = sum(isinstance(event, Restarted) for event in driver.events)
    assert on_partial == "restart" or restarts == 0
    if call.result is not None:
        assert_result_matches_events(call.result, driver.events)
    elif on_partial == "buffer":
        assert ("", "", "", "") == join_deltas(driver.events)
    assert True is (leave_after is not None or call.result is not None or call.failure is not None)


def assert_result_matches_events(result: StreamResult, events: list[Event]) -> None:
    """Check that the result is not empty and equals the received events, without voided parts."""
    arguments = "".join(call.arguments for call in result.tool_calls)
    assert (result.text, result.reasoning, result.refusal, arguments) == join_deltas(events)
    assert [Completed(result.finish_reason, result.usage, result.degraded)] == events[-1:]
    assert True is bool(result.text or result.refusal or result.tool_calls or result.raw)
    assert result.response is not None
