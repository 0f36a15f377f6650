"""Limits on the size of an answer, and the token limit of a request."""

import json
import sys
import tracemalloc
from typing import Any

import pytest
from pydantic import ValidationError

from streamcanary import Limits
from streamcanary.client.core.answers.completeness import TokenLimit
from streamcanary.client.core.attempt import Api, AttemptMachine
from streamcanary.client.core.request import prepare_request
from streamcanary.client.core.response_head import ResponseHead
from streamcanary.client.timeouts import Timeouts
from streamcanary.model.faults import Blame, FaultKind

EVENT_STREAM, JSON = {"content-type": "text/event-stream"}, {"content-type": "application/json"}
FINISH = b'data: {"id": "c", "choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'


def attempt(
    *pieces: bytes, api: Api = "chat", headers: dict[str, str] = EVENT_STREAM, **options: Any
) -> AttemptMachine:
    machine = AttemptMachine(Timeouts(), started=0.0, api=api, **options)
    machine.headers_received(ResponseHead(200, headers), wall_time=0.0)
    for piece in pieces:
        machine.feed(piece, 1.0)
    machine.feed_eof(2.0)
    return machine


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c", "choices": [choice]}).encode() + b"\n\n"


@pytest.mark.parametrize("megabytes", [1.5, 12])
@pytest.mark.parametrize("size", [1 << 14, 1 << 30], ids=["pieces", "at once"])
def test_image_of_ordinary_size_is_an_answer(megabytes: float, size: int) -> None:
    """An image of several megabytes in one line fits into the default limits."""
    data = "A" * int(megabytes * 1_000_000)
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    stream = chunk({"content": "Here:"}) + chunk({"images": [image]}) + FINISH
    machine = attempt(*(stream[start : start + size] for start in range(0, len(stream), size)))
    assert (None, ["Here:"], True) == (machine.fault, machine.answer.text, machine.answer.has_other_output)


def test_text_of_a_megabyte_in_one_line_is_an_answer() -> None:
    """A line of 1.5 MB with text is read whole."""
    machine = attempt(chunk({"content": "x" * 1_500_000}), FINISH)
    assert (None, 1_500_000) == (machine.fault, len("".join(machine.answer.text)))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            {"max_line_bytes": 100},
            "a line of the event stream has more than 100 bytes; if it is expected, raise max_line_bytes in limits",
        ),
        (
            {"max_event_bytes": 100},
            "a line of the event stream has more than 100 bytes; if it is expected, raise max_line_bytes in limits",
        ),
        (
            {"max_event_bytes": 100, "max_line_bytes": 1000},
            "an event of the stream has more than 100 bytes; if it is expected, raise max_event_bytes in limits",
        ),
        ({"max_events": 1}, "the stream has more than 1 events; if it is expected, raise max_events in limits"),
    ],
)
def test_exceeded_limit_is_named(limits: dict[str, int], message: str) -> None:
    """A limit that is exceeded is answer_too_long, not retried, and the message says which one and how to raise it."""
    machine = attempt(chunk({"content": "x" * 60}), chunk({"content": "x" * 200}), FINISH, limits=Limits(**limits))
    assert machine.fault is not None
    assert (FaultKind.ANSWER_TOO_LONG, False) == (machine.fault.kind, machine.fault.retryable)
    assert message == machine.fault.message


def test_limit_on_the_text_is_named() -> None:
    """More characters than max_answer_characters are answer_too_long, whose message names that limit."""
    machine = attempt(
        chunk({"content": "x" * 90}), chunk({"content": "x" * 90}), limits=Limits(max_answer_characters=100)
    )
    assert machine.fault is not None
    assert FaultKind.ANSWER_TOO_LONG is machine.fault.kind
    assert "raise max_answer_characters in limits" in machine.fault.message


def test_limit_on_a_json_body_is_named() -> None:
    """A JSON body over the limit of an event is answer_too_long before its end."""
    machine = attempt(b"{" * 60, b"{" * 60, headers=JSON, limits=Limits(max_event_bytes=100))
    assert machine.fault is not None
    assert (
        "the answer has more than 100 bytes; if it is expected, raise max_event_bytes in limits"
        == machine.fault.message
    )


def test_limits_follow_the_limit_of_the_answer() -> None:
    """Without values of their own, events have four bytes for each character, and lines the limit of events."""
    limits = Limits(max_answer_characters=1000)
    assert (4000, 4000) == (limits.event_bytes, limits.line_bytes)
    assert (50, 50) == (Limits(max_event_bytes=50).event_bytes, Limits(max_event_bytes=50).line_bytes)
    with pytest.raises(ValidationError):
        Limits(max_events=0)


@pytest.mark.parametrize("headers", [EVENT_STREAM, JSON], ids=["line", "body"])
def test_bytes_one_by_one_cost_linear_work(headers: dict[str, str]) -> None:
    """A large line or body that arrives byte by byte is held once, and each byte costs the same number of calls."""

    def cost(length: int) -> tuple[int, int]:
        machine = AttemptMachine(Timeouts(), started=0.0)
        machine.headers_received(ResponseHead(200, headers), wall_time=0.0)
        machine.feed(b"\n", 1.0)
        calls = 0

        def count(frame: object, event: str, argument: object) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        tracemalloc.start()
        sys.setprofile(count)
        try:
            for _ in range(length):
                machine.feed(b"x", 1.0)
        finally:
            sys.setprofile(None)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        return calls, peak

    short_calls, _ = cost(10_000)
    long_calls, long_peak = cost(40_000)
    assert long_calls <= 4 * short_calls + 100
    assert long_peak < 4 * 40_000


# The token limit


@pytest.mark.parametrize(
    ("api", "limit", "message"),
    [
        (
            "chat",
            TokenLimit("max_completion_tokens", 64),
            "the model used its whole token limit (64) on reasoning; raise max_completion_tokens",
        ),
        (
            "chat",
            TokenLimit("max_tokens", 5),
            "the model used its whole token limit (5) on reasoning; raise max_tokens",
        ),
        ("chat", None, "the model used its whole token limit on reasoning; raise max_completion_tokens"),
        (
            "responses",
            TokenLimit("max_output_tokens", 64),
            "the model used its whole token limit (64) on reasoning; raise max_output_tokens",
        ),
        ("responses", None, "the model used its whole token limit on reasoning; raise max_output_tokens"),
    ],
)
def test_reasoning_up_to_the_token_limit_is_a_fault_of_the_request(
    api: Api, limit: TokenLimit | None, message: str
) -> None:
    """Reasoning alone up to the limit is token_limit_reached: blamed on config, not retried, with the limit."""
    if api == "chat":
        events = [chunk({"reasoning_content": "hm"}), chunk({}, "length")]
    else:
        response = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": []}
        events = [
            b"data: " + json.dumps(event).encode() + b"\n\n"
            for event in (
                {"type": "response.reasoning_text.delta", "output_index": 0, "delta": "hm"},
                {"type": "response.incomplete", "response": response},
            )
        ]
    fault = attempt(*events, api=api, token_limit=limit).fault
    assert fault is not None
    assert (FaultKind.TOKEN_LIMIT_REACHED, Blame.CONFIG, False) == (fault.kind, fault.blame, fault.retryable)
    assert message == fault.message


def test_hidden_reasoning_up_to_the_token_limit_is_explained() -> None:
    """A provider that hides reasoning sends an empty answer cut at the limit."""
    fault = attempt(chunk({}, "length"), token_limit=TokenLimit("max_completion_tokens", 64)).fault
    assert fault is not None
    assert fault.message == (
        "the model used its whole token limit (64) without writing an answer, as reasoning models can; "
        "raise max_completion_tokens"
    )


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [
        ({"messages": [1], "max_completion_tokens": 64}, TokenLimit("max_completion_tokens", 64)),
        ({"messages": [1], "max_tokens": 5}, TokenLimit("max_tokens", 5)),
        ({"messages": [1], "extra_body": {"max_tokens": 6}, "max_tokens": 5}, TokenLimit("max_tokens", 6)),
        ({"messages": [1], "max_tokens": None}, TokenLimit("max_completion_tokens")),
        ({"input": "x", "max_output_tokens": 7}, TokenLimit("max_output_tokens", 7)),
        ({"input": "x"}, TokenLimit("max_output_tokens")),
    ],
)
def test_token_limit_is_that_of_the_request(arguments: dict[str, Any], limit: TokenLimit) -> None:
    """The parameter and value come from the arguments, or from extra_body, which overrides them."""
    assert limit == prepare_request({"model": "m", **arguments}, None).token_limit
