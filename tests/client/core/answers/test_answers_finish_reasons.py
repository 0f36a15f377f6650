"""What finish reasons say about an answer, in the spelling of real servers."""

import json

import pytest

from streamcanary.client.core.answers.finish_reasons import FinishMeaning, is_cut_at_limit, is_known, meaning_of
from streamcanary.client.core.attempt import AttemptMachine
from streamcanary.client.core.response_head import ResponseHead
from streamcanary.client.timeouts import Timeouts
from streamcanary.model.faults import FaultKind, Phase

MEANINGS = {
    "stop": FinishMeaning.WHOLE,
    "STOP": FinishMeaning.WHOLE,
    "FinishReason.STOP": FinishMeaning.WHOLE,
    "eos": FinishMeaning.WHOLE,
    "end_turn": FinishMeaning.WHOLE,
    "stop_sequence": FinishMeaning.WHOLE,
    "tool-calls": FinishMeaning.WHOLE,
    "tool_use": FinishMeaning.WHOLE,
    "function_call": FinishMeaning.WHOLE,
    "completed": FinishMeaning.WHOLE,
    "length": FinishMeaning.TOKEN_LIMIT,
    "max_tokens": FinishMeaning.TOKEN_LIMIT,
    "FINISH_REASON_MAX_TOKENS": FinishMeaning.TOKEN_LIMIT,
    "model_length": FinishMeaning.CONTEXT_LIMIT,
    "content_filter": FinishMeaning.FILTERED,
    "content_filter:": FinishMeaning.FILTERED,
    "content_filter: RECITATION": FaultKind.CONTENT_POLICY,
    "SAFETY": FaultKind.CONTENT_POLICY,
    "sensitive": FaultKind.CONTENT_POLICY,
    "PROHIBITED_CONTENT": FaultKind.CONTENT_POLICY,
    "malformed_function_call": FaultKind.MALFORMED_TOOL_CALL,
    "insufficient_system_resource": FaultKind.OVERLOADED,
    "network_error": FaultKind.STREAM_ERROR,
    "error": FaultKind.STREAM_ERROR,
    "error: CUDA out of memory": FaultKind.STREAM_ERROR,
    "abort": FaultKind.STREAM_ERROR,
    "null": FinishMeaning.UNFINISHED,
    "FINISH_REASON_UNSPECIFIED": FinishMeaning.UNFINISHED,
    "OTHER": FinishMeaning.UNKNOWN,
    "later": FinishMeaning.UNKNOWN,
    "\x00" * 500: FinishMeaning.UNKNOWN,
    "stop" * 500: FinishMeaning.UNKNOWN,
    ": stop": FinishMeaning.UNKNOWN,
}


@pytest.mark.parametrize("reason", MEANINGS)
def test_finish_reason_has_a_meaning(reason: str) -> None:
    """Case, separators and enumeration names do not change the meaning; what is on no list is unknown."""
    assert MEANINGS[reason] is meaning_of(reason)


def test_answer_without_a_finish_reason_is_not_flagged() -> None:
    """Only a reason that is on no list is unknown, and only the token limit cuts at the limit."""
    assert (True, True, False) == (is_known(None), is_known("SAFETY"), is_known("OTHER"))
    assert (False, True, False) == (is_cut_at_limit(None), is_cut_at_limit("MAX_TOKENS"), is_cut_at_limit("stop"))


def answered(reason: str, text: str) -> AttemptMachine:
    """Return an attempt that received ``text`` and then the finish reason, without the end of the body."""
    machine = AttemptMachine(Timeouts(), started=0.0)
    machine.headers_received(ResponseHead(200, {"content-type": "text/event-stream"}), wall_time=0.0)
    for delta, finish in (({"content": text}, None), ({}, reason)):
        chunk = {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        machine.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n", 1.0)
    return machine


@pytest.mark.parametrize("text", ["", "Hello"])
@pytest.mark.parametrize(
    ("reason", "kind", "phase"),
    [
        ("insufficient_system_resource", FaultKind.OVERLOADED, Phase.STREAM),
        ("network_error", FaultKind.STREAM_ERROR, Phase.STREAM),
        ("malformed_function_call", FaultKind.MALFORMED_TOOL_CALL, Phase.END),
        ("content_filter: RECITATION", FaultKind.CONTENT_POLICY, Phase.END),
        ("sensitive", FaultKind.CONTENT_POLICY, Phase.END),
    ],
)
def test_error_as_finish_reason_is_a_fault(reason: str, kind: FaultKind, phase: Phase, text: str) -> None:
    """A provider's error or filter in finish_reason is a fault at once, with or without text before it."""
    fault = answered(reason, text).fault
    assert fault is not None
    assert (kind, phase) == (fault.kind, fault.phase)
    assert f"(finish_reason {reason})" in fault.message


@pytest.mark.parametrize("reason", ["content_filter", "MAX_TOKENS", "OTHER"])
def test_other_finish_reason_with_text_is_an_answer(reason: str) -> None:
    """Text with a plain content_filter, a limit or an unknown reason is an answer that has the reason as it came."""
    machine = answered(reason, "Hello")
    machine.feed_eof(2.0)
    assert (None, reason) == (machine.fault, machine.answer.finish_reason)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("length", None),
        ("model_length", None),
        ("content_filter", None),
        ("tool_calls", FaultKind.MALFORMED_TOOL_CALL),
        ("OTHER", FaultKind.MALFORMED_TOOL_CALL),
    ],
)
def test_tool_call_that_is_cut_as_its_finish_reason_says_is_an_answer(reason: str, kind: FaultKind | None) -> None:
    """Arguments that a limit or the content filter cuts are an answer: the finish_reason says so. Others are not."""
    machine = AttemptMachine(Timeouts(), started=0.0)
    machine.headers_received(ResponseHead(200, {"content-type": "text/event-stream"}), wall_time=0.0)
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x": '}}
    for delta, finish in (({"tool_calls": [call]}, None), ({}, reason)):
        chunk = {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        machine.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n", 1.0)
    machine.feed_eof(2.0)
    assert kind is (machine.fault and machine.fault.kind)
    assert ['{"x": '] == [call.arguments for call in machine.answer.tool_calls]


@pytest.mark.parametrize("reason", ["null", "not_finished"])
def test_word_for_no_finish_reason_does_not_finish(reason: str) -> None:
    """A word that stands for null is no finish_reason: the end of the body is a truncated stream."""
    machine = answered(reason, "Hello")
    assert False is machine.is_finished
    machine.feed_eof(2.0)
    assert machine.fault is not None
    assert FaultKind.STREAM_TRUNCATED is machine.fault.kind


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("content_filter", FaultKind.CONTENT_POLICY),
        ("MAX_TOKENS", FaultKind.TOKEN_LIMIT_REACHED),
        ("model_length", FaultKind.CONTEXT_LENGTH_EXCEEDED),
        ("OTHER", FaultKind.EMPTY_ANSWER),
        ("stop", FaultKind.EMPTY_ANSWER),
    ],
)
def test_empty_answer_is_explained_by_its_finish_reason(reason: str, kind: FaultKind) -> None:
    """The finish_reason of an empty answer determines its fault."""
    machine = answered(reason, "")
    machine.feed_eof(2.0)
    assert machine.fault is not None
    assert kind is machine.fault.kind
