"""Calls of the sans-I/O state machine, and the responses and errors to feed them."""

from random import Random
from typing import Any

import httpx2
from openai import APIConnectionError, APIStatusError, RateLimitError

from streamcanary.client.core.call import Call
from streamcanary.client.core.plan import Plan, PlannedRoute
from streamcanary.client.core.response_head import ResponseHead
from streamcanary.client.instrumentation.call_recorder import CallRecorder
from streamcanary.client.instrumentation.instruments import Instruments
from streamcanary.client.retry_policy import RetryPolicy
from streamcanary.client.timeouts import Timeouts
from streamcanary.events import (
    Event,
)
from support.clock import ManualClock

TIMEOUTS = Timeouts(connect=1, headers=2, first_token=5, stall=3, total=60)
HEAD = ResponseHead(200, {"content-type": "text/event-stream"})
TEXT_CHUNK = b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n'
STOP_CHUNK = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
REQUEST = httpx2.Request("POST", "http://provider.test/v1/chat/completions")


class MaxJitter(Random):
    """A random source that always returns the upper bound, so that delays are at their maximum."""

    def uniform(self, a: float, b: float) -> float:
        """Return ``b``."""
        return b


def make_call(
    clock: ManualClock, *fallbacks: str, on_partial: Any = "restart", attempts: int = 3, **options: Any
) -> Call:
    routes = [PlannedRoute(index=i, name=name, timeouts=TIMEOUTS) for i, name in enumerate(("primary", *fallbacks))]
    recorder = CallRecorder(Instruments(), model="m", labels={}, request_attributes={}, url="http://provider.test/")
    retry = RetryPolicy(max_attempts=attempts, base_delay=1, max_delay=8)
    plan = Plan(routes, retry, random=MaxJitter(), deadline=clock.monotonic() + 60, **options)
    return Call(plan, api="chat", total=60, on_partial=on_partial, clock=clock, recorder=recorder)


def status_error(status: int, body: object = None, **headers: str) -> APIStatusError:
    sent_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    response = httpx2.Response(status, headers=sent_headers, request=REQUEST)
    return (RateLimitError if status == 429 else APIStatusError)("error", response=response, body=body)


def connection_lost_error() -> APIConnectionError:
    error = APIConnectionError(request=REQUEST)
    error.__cause__ = httpx2.ReadError("reset")
    return error


def take_events(call: Call) -> list[Event]:
    events = list(call.events)
    call.events.clear()
    return events


def event_types(events: list[Event]) -> list[str]:
    return [event.type for event in events]


def cut_after_text(call: Call) -> None:
    call.start_attempt()
    call.headers_received(HEAD)
    call.feed(TEXT_CHUNK)
    call.connection_lost(httpx2.ReadError("reset"))


def complete_answer(call: Call) -> None:
    call.start_attempt()
    call.headers_received(HEAD)
    call.feed(TEXT_CHUNK + STOP_CHUNK)
    call.feed_eof()
