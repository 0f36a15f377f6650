"""What holds for a call, whatever its attempts go through; it does no I/O, and its time is the test's."""

from collections.abc import Iterator
from itertools import cycle, islice
from random import Random
from typing import Any

import httpx2
from hypothesis import given
from hypothesis import strategies as st
from openai import APIConnectionError, APIStatusError

from streamcanary.client.circuit_breaker import BreakerPolicy, CircuitBreaker
from streamcanary.client.core.attempt import Api, ResponseHead
from streamcanary.client.core.call import Call, CallState
from streamcanary.client.core.plan import Plan, PlannedRoute
from streamcanary.client.instrumentation import CallRecorder, Instruments
from streamcanary.client.result import StreamResult
from streamcanary.client.retry_budget import RetryBudget
from streamcanary.client.retry_policy import RetryPolicy
from streamcanary.client.timeouts import Timeouts
from streamcanary.events import Completed, Event, Restarted
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

Act = dict[str, Any]
"""What one attempt goes through."""

TIMEOUTS = Timeouts(connect=1, headers=2, first_token=5, stall=3, total=60)
EVENT_STREAM = ResponseHead(200, {"content-type": "text/event-stream"})
KEPT = StreamResult(text="kept", finish_reason="stop")
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
_ACTS = st.fixed_dictionaries(
    {
        "opening": st.sampled_from(["head", "head", "head", "head", "refused", "status", "struck"]),
        "status": st.sampled_from([200, 200, 200, 204, 302, 400, 401, 403, 404, 408, 429, 500, 503, 529, 599]),
        "headers": _HEADERS,
        "streams": st.sampled_from([True, True, False]),
        "body": _BODIES,
        "where": split_points,
        "pause": st.sampled_from([0.0, 0.0, 0.01, 1.0, 4.0, 100.0]),
        "ending": st.sampled_from(["eof", "broke", "struck"]),
    }
)


class Stage:
    """Drives a call as a driver does, with acts in place of a network. ``heard`` is what the caller hears.

    The caller leaves after ``leave`` events, if that is not ``None``.
    """

    def __init__(self, call: Call, clock: ManualClock, leave: int | None) -> None:
        self._call = call
        self._clock = clock
        self._leave = leave
        self.heard: list[Event] = []

    def play(self, acts: Iterator[Act]) -> None:
        """Play until the call has ended, one act for each attempt."""
        call = self._call
        self._take()
        while call.state is not CallState.ENDED:
            self._clock.advance(max(0.0, call.next_attempt_at - self._clock.monotonic()))
            call.start_attempt()
            self._take()
            act = next(acts)
            if call.state is CallState.SENDING:
                self._open(act)
            if call.state is CallState.READING:
                self._read(act)
            self._take()

    def _open(self, act: Act) -> None:
        headers = httpx2.Headers({name: value.encode() for name, value in act["headers"].items()})
        match act["opening"]:
            case "struck":
                self._passes(1000)
            case "refused":
                error = APIConnectionError(request=REQUEST)
                error.__cause__ = httpx2.ConnectError("refused")
                self._call.connection_lost(error)
            case "status" if act["status"] >= 300:
                response = httpx2.Response(act["status"], headers=headers, request=REQUEST)
                self._call.connection_lost(
                    APIStatusError("no", response=response, body={"error": {"code": "api_error"}})
                )
            case _:
                self._call.headers_received(EVENT_STREAM if act["streams"] else ResponseHead(act["status"], headers))

    def _read(self, act: Act) -> None:
        call = self._call
        for piece in split(act["body"], act["where"]):
            self._take()
            if call.state is not CallState.READING or self._passes(act["pause"]):
                return
            call.feed(piece)
        self._take()
        if call.state is not CallState.READING:
            return
        match act["ending"]:
            case "eof":
                call.feed_eof()
            case "broke":
                call.connection_lost(httpx2.ReadError("reset"))
            case _:
                self._passes(1000)

    def _take(self) -> None:
        self.heard.extend(self._call.events)
        self._call.events.clear()
        if self._leave is not None and len(self.heard) >= self._leave:
            self._call.cancel()

    def _passes(self, seconds: float) -> bool:
        """Let time pass, up to the deadline if that comes first; tell whether it came."""
        left = self._call.deadline - self._clock.monotonic()
        self._clock.advance(max(0.0, min(seconds, left)))
        if seconds >= left:
            self._call.deadline_exceeded()
        return seconds >= left


def make_leg(index: int, kind: Any, breaker: CircuitBreaker | None) -> PlannedRoute:
    recall = (lambda now: KEPT if int(now) % 2 else None) if kind == "cache" else None
    return PlannedRoute(
        index=index, name=f"{kind}{index}", timeouts=TIMEOUTS, kind=kind, cache_lookup=recall, breaker=breaker
    )


@examples(sample=120, fuzz=12_000)
@given(
    acts=st.lists(_ACTS, min_size=1, max_size=4),
    api=st.sampled_from(APIS),
    on_partial=st.sampled_from(["restart", "fail", "buffer"]),
    fallbacks=st.lists(st.sampled_from(["stream", "whole", "cache"]), max_size=2),
    wish=st.sampled_from([None, None, None, True, False, 0.5]),
    guarded=st.booleans(),
    leave=st.one_of(st.none(), st.integers(0, 6)),
    seed=st.integers(0, 9),
)
def test_a_call_ends_as_an_answer_or_a_fault(
    part: int,
    acts: list[Act],
    api: Api,
    on_partial: Any,
    fallbacks: list[str],
    wish: Any,
    guarded: bool,
    leave: int | None,
    seed: int,
) -> None:
    """Whatever its attempts go through, a call ends in time, once, with all its spans, and is whole if it says so."""
    count_example()
    clock, spans = ManualClock(), OpenSpans()
    breaker = CircuitBreaker(BreakerPolicy(min_calls=1, open_for=1)) if guarded else None
    plan = Plan(
        [make_leg(index, kind, breaker) for index, kind in enumerate(["stream", *fallbacks])],
        RetryPolicy(max_attempts=3, base_delay=1, max_delay=4),
        random=Random(seed),  # noqa: S311 - the same jitter again
        deadline=clock.monotonic() + TIMEOUTS.total,
        budget=RetryBudget(10),
        on=lambda fault: wish,
    )
    instruments = Instruments()
    instruments.tracer = spans.tracer
    recorder = CallRecorder(instruments, model="m", labels={}, request_attributes={}, url="http://provider.test/")
    began = clock.monotonic()
    call = Call(plan, api=api, total=TIMEOUTS.total, on_partial=on_partial, clock=clock, recorder=recorder)
    stage = Stage(call, clock, leave)
    stage.play(islice(cycle(acts), 8))

    assert (0, False) == (spans.open, call.result is not None and call.failure is not None)
    assert clock.monotonic() - began <= TIMEOUTS.total + 1e-6
    assert list(range(1, len(call.attempts) + 1)) == [attempt.number for attempt in call.attempts]
    assert len(call.attempts) <= 3 + len(fallbacks)
    restarts = sum(isinstance(event, Restarted) for event in stage.heard)
    assert on_partial == "restart" or restarts == 0
    if call.result is not None:
        assert_whole(call.result, stage.heard)
    elif on_partial == "buffer":
        assert ("", "", "", "") == join_deltas(stage.heard)
    assert True is (leave is not None or call.result is not None or call.failure is not None)


def assert_whole(result: StreamResult, heard: list[Event]) -> None:
    """Hold what was heard, void parts left out, against the result, which says something."""
    arguments = "".join(call.arguments for call in result.tool_calls)
    assert (result.text, result.reasoning, result.refusal, arguments) == join_deltas(heard)
    assert [Completed(result.finish_reason, result.usage, result.degraded)] == heard[-1:]
    assert True is bool(result.text or result.refusal or result.tool_calls or result.raw)
    assert result.response is not None
