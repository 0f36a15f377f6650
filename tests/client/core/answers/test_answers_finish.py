"""When an answer ends: finish reasons that come early, silence after them, and what is measured."""

import json
from typing import Any

import pytest

from streamcanary.client.core.attempt import Api, AttemptMachine
from streamcanary.client.core.response_head import ResponseHead
from streamcanary.client.timeouts import Timeouts
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Usage

STREAM = ResponseHead(200, {"content-type": "text/event-stream"})
TIMEOUTS = Timeouts(connect=1, headers=2, first_token=10, stall=8, total=60)
RESET = make_fault(FaultKind.STREAM_CUT, Phase.STREAM, "reset")
DONE = b"data: [DONE]\n\n"


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c", "choices": [choice], **more}).encode() + b"\n\n"


def call(index: int, arguments: str = "{}") -> dict[str, Any]:
    function = {"name": f"f{index}", "arguments": arguments}
    return {"tool_calls": [{"index": index, "id": f"call_{index}", "function": function}]}


def reading(*events: tuple[float, bytes], api: Api = "chat") -> AttemptMachine:
    """Return an attempt that received ``events`` at their times, none after its deadline, and is still reading."""
    machine = AttemptMachine(TIMEOUTS, started=0.0, api=api)
    machine.headers_received(STREAM, wall_time=0.0)
    for at, data in events:
        assert at < machine.deadline
        machine.feed(data, at)
    return machine


def result_of(machine: AttemptMachine) -> tuple[bool, FaultKind | None, str, str | None]:
    kind = machine.fault.kind if machine.fault else None
    return machine.is_finished, kind, "".join(machine.answer.text), machine.answer.finish_reason


STOP_ON_EVERY_CHUNK = [(1 + 0.25 * number, chunk({"content": word}, "stop")) for number, word in enumerate("abcdefgh")]
STOP_ON_REASONING = [
    (1.0, chunk({"reasoning_content": "hm"}, "stop")),
    (2.5, chunk({"content": "abcdefgh"})),
]
STOP_BEFORE_THE_TEXT = [(1.0, chunk({}, "stop")), (9.9, chunk({"content": "abcdefgh"}))]
STOP_WITH_THE_ROLE = [(1.0, chunk({"role": "assistant", "content": ""}, "stop")), (9.9, chunk({"content": "abcdefgh"}))]
PAUSE_AFTER_THE_STOP = [(1.0, chunk({"content": "abcd"}, "stop")), (8.9, chunk({"content": "efgh"}))]
PAUSE_AFTER_A_BARE_STOP = [
    (1.0, chunk({"content": "abcd"})),
    (1.1, chunk({}, "stop")),
    (9.0, chunk({"content": "efgh"})),
]
PINGS_AFTER_THE_STOP = [
    (1.0, chunk({"content": "abcd"}, "stop")),
    *((1.0 + second, b": ping\n\n") for second in range(1, 8)),
    (8.9, chunk({"content": "efgh"})),
]
EMPTY_DELTAS_AFTER_THE_STOP = [
    (1.0, chunk({"content": "abcd"}, "stop")),
    *((1.0 + second, chunk({"content": ""}, "stop")) for second in range(1, 8)),
    (8.9, chunk({"content": "efgh"}, "stop")),
]
EARLY = {
    "every chunk": STOP_ON_EVERY_CHUNK,
    "reasoning": STOP_ON_REASONING,
    "before the text": STOP_BEFORE_THE_TEXT,
    "with the role": STOP_WITH_THE_ROLE,
    "before a pause": PAUSE_AFTER_THE_STOP,
    "bare, before a pause": PAUSE_AFTER_A_BARE_STOP,
    "before pings": PINGS_AFTER_THE_STOP,
    "before empty deltas": EMPTY_DELTAS_AFTER_THE_STOP,
}


@pytest.mark.parametrize("early", EARLY)
@pytest.mark.parametrize("end", ["done", "eof", "silence"])
def test_content_after_a_finish_reason_is_read(early: str, end: str) -> None:
    """A finish_reason that comes early does not cut the answer off, however the answer ends."""
    machine = reading(*EARLY[early])
    match end:
        case "done":
            machine.feed(DONE, 10.0)
        case "eof":
            machine.feed_eof(10.0)
        case _:
            machine.deadline_exceeded()
    assert (True, None, "abcdefgh", "stop") == result_of(machine)


@pytest.mark.parametrize("first", [[(1.0, call(0), None), (1.1, {}, "tool_calls")], [(1.1, call(0), "tool_calls")]])
def test_second_tool_call_after_a_finish_reason_is_read(first: list[tuple[float, dict[str, Any], str | None]]) -> None:
    """A second tool call, nearly the stall timeout after the finish_reason of the first, is part of the answer."""
    machine = reading(*((at, chunk(delta, finish)) for at, delta, finish in first), (9.0, chunk(call(1))), (9.1, DONE))
    assert ["f0", "f1"] == [each.name for each in machine.answer.tool_calls]
    assert (True, None) == (machine.is_finished, machine.fault)


# Finish reasons before any output

ROLE_AND_STOP = (1.0, chunk({"role": "assistant"}, "stop"))
REASONING_AND_STOP = (1.0, chunk({"reasoning_content": "hm"}, "stop"))


@pytest.mark.parametrize(
    ("event", "deadline", "kind"),
    [(ROLE_AND_STOP, 10.0, FaultKind.FIRST_TOKEN_TIMEOUT), (REASONING_AND_STOP, 9.0, FaultKind.STALLED)],
    ids=["role", "reasoning"],
)
def test_finish_reason_before_any_output_stops_no_timeout(
    event: tuple[float, bytes], deadline: float, kind: FaultKind
) -> None:
    """A finish_reason before any output changes no timeout; the fault of the one that expires mentions it."""
    machine = reading(event)
    assert deadline == machine.deadline
    machine.deadline_exceeded()
    assert machine.fault is not None
    assert (kind, True) == (machine.fault.kind, "; finish_reason stop came before any output" in machine.fault.message)


@pytest.mark.parametrize("event", [ROLE_AND_STOP, REASONING_AND_STOP, (1.0, chunk({}, "stop"))])
def test_connection_lost_before_any_output_is_a_network_fault(event: tuple[float, bytes]) -> None:
    """A reset after a finish_reason without any output before it is a lost connection, not an empty answer."""
    machine = reading(event)
    machine.fail_unless_complete(RESET)
    assert (True, FaultKind.STREAM_CUT, "", "stop") == result_of(machine)


@pytest.mark.parametrize("end", ["done", "eof"])
def test_answer_that_ends_without_output_is_empty(end: str) -> None:
    """If the stream ends after a finish_reason without output, the answer is empty."""
    machine = reading(ROLE_AND_STOP)
    if end == "done":
        machine.feed(DONE, 2.0)
    else:
        machine.feed_eof(2.0)
    assert (True, FaultKind.EMPTY_ANSWER, "", "stop") == result_of(machine)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("length", FaultKind.TOKEN_LIMIT_REACHED),
        ("model_length", FaultKind.CONTEXT_LENGTH_EXCEEDED),
        ("content_filter", FaultKind.CONTENT_POLICY),
    ],
)
@pytest.mark.parametrize("end", ["silence", "reset"])
def test_reason_that_explains_an_empty_answer_ends_it(reason: str, kind: FaultKind, end: str) -> None:
    """A limit or the content filter explains why there is no output: the connection is not to blame."""
    machine = reading((1.0, chunk({"reasoning_content": "hm"})), (2.0, chunk({}, reason)))
    assert 10.0 == machine.deadline
    if end == "silence":
        machine.deadline_exceeded()
    else:
        machine.fail_unless_complete(RESET)
    assert (True, kind, "", reason) == result_of(machine)


def test_total_timeout_during_text_after_an_early_finish_reason_is_a_fault() -> None:
    """A finish_reason before the text says nothing about the text: the total timeout ends no answer there."""
    machine = reading(*STOP_WITH_THE_ROLE)
    machine.fail_unless_complete(make_fault(FaultKind.TOTAL_TIMEOUT, Phase.STREAM, "late"))
    assert (True, FaultKind.TOTAL_TIMEOUT, "abcdefgh", "stop") == result_of(machine)


# Silence and a lost connection after the answer


FINISHED = [(1.0, chunk({"content": "Hi"})), (2.0, chunk({}, "stop"))]


@pytest.mark.parametrize(
    ("events", "deadline"),
    [
        (FINISHED, 10.0),
        ([(1.0, chunk({"content": "Hi"}, "stop"))], 9.0),
        ([*FINISHED, (3.0, b": ping\n\n"), (4.0, chunk({})), (5.0, chunk({}, "stop"))], 10.0),
        ([*FINISHED, (3.0, chunk({"content": "!"}))], 11.0),
        ([*FINISHED, (3.0, chunk({"content": "!"}, "stop")), (4.0, chunk({}, "stop"))], 11.0),
    ],
    ids=["bare", "with content", "pings", "revoked", "revoked, and again"],
)
def test_silence_after_a_finish_reason_is_bounded(events: list[tuple[float, bytes]], deadline: float) -> None:
    """After a finish_reason the attempt waits for more for the stall timeout, which only tokens feed."""
    machine = reading(*events)
    assert deadline == machine.deadline
    machine.deadline_exceeded()
    assert (True, None) == (machine.is_finished, machine.fault)


def test_pause_of_the_caller_extends_the_wait_for_the_end() -> None:
    """The time that the caller takes between two reads does not count as silence after a finish_reason."""
    machine = reading((1.0, chunk({"content": "a"}, "stop")))
    machine.clock.exclude_pause(60.0)
    assert 69.0 == machine.deadline


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        (FINISHED, None),
        ([*FINISHED, (3.0, chunk({}, usage={"prompt_tokens": 1, "completion_tokens": 1}))], None),
        ([(1.0, chunk({"content": "Hi"}, "stop"))], FaultKind.STREAM_CUT),
        ([*FINISHED, (3.0, chunk({"content": "!"}))], FaultKind.STREAM_CUT),
        ([*FINISHED, (3.0, chunk({"content": "!"})), (4.0, chunk({}, "stop"))], FaultKind.STREAM_CUT),
    ],
    ids=["bare", "usage", "with content", "revoked", "revoked, and again"],
)
def test_lost_connection_after_a_finish_reason(events: list[tuple[float, bytes]], kind: FaultKind | None) -> None:
    """A reset is a fault, as in the SDK, unless a finish_reason came on a chunk without content and was not revoked."""
    machine = reading(*events)
    machine.fail_unless_complete(RESET)
    assert (True, kind) == (machine.is_finished, machine.fault and machine.fault.kind)


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        (FINISHED, None),
        ([(1.0, chunk({"content": "Hi"}, "stop"))], None),
        ([*FINISHED, (3.0, chunk({"content": "!"}))], FaultKind.TOTAL_TIMEOUT),
    ],
    ids=["bare", "with content", "revoked"],
)
def test_total_timeout_after_a_finish_reason(events: list[tuple[float, bytes]], kind: FaultKind | None) -> None:
    """The total timeout ends the wait for the end of an answer, and is a fault if content still arrives."""
    machine = reading(*events)
    machine.fail_unless_complete(make_fault(FaultKind.TOTAL_TIMEOUT, Phase.STREAM, "late"))
    assert (True, kind) == (machine.is_finished, machine.fault and machine.fault.kind)


def test_late_usage_is_kept_and_ends_the_answer() -> None:
    """Usage that arrives seconds after the finish_reason is part of the result, and of its duration."""
    usage = b'data: {"id": "c", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}\n\n'
    machine = reading(*FINISHED, (5.0, usage))
    machine.deadline_exceeded()
    assert (Usage(input_tokens=3, output_tokens=4), 5.0) == (machine.answer.usage, machine.clock.answer_end)


@pytest.mark.parametrize("end", ["eof", "silence", "pings"])
def test_silence_after_the_answer_is_not_measured(end: str) -> None:
    """A connection that stays open after the finish_reason makes neither the answer nor its longest gap longer."""
    machine = reading(*FINISHED)
    if end == "pings":
        machine.feed(b": ping\n\n" + chunk({}), 6.0)
    if end == "eof":
        machine.feed_eof(6.5)
    else:
        machine.deadline_exceeded()
    assert (True, None, 2.0) == (machine.is_finished, machine.clock.max_gap, machine.clock.answer_end)


def test_error_after_a_finish_reason_is_the_result() -> None:
    """An error that the server sends during the wait for the end is a fault."""
    machine = reading(*FINISHED, (3.0, b'data: {"error": {"message": "late", "code": 503}}\n\n'))
    assert machine.fault is not None
    assert FaultKind.OVERLOADED is machine.fault.kind


# Progress of the provider's tools


def progress(kind: str = "response.web_search_call.searching") -> bytes:
    event = {"type": kind, "output_index": 0, "item_id": "ws_1", "sequence_number": 1}
    return f"event: {kind}\ndata: {json.dumps(event)}\n\n".encode()


TOKEN = b'data: {"type": "response.output_text.delta", "output_index": 1, "delta": "a"}\n\n'


def test_progress_of_a_tool_feeds_the_stall_timeout() -> None:
    """Events of a built-in tool keep a stream alive that writes no text, and leave the measured gap as it is."""
    machine = reading((1.0, TOKEN), (8.0, progress()), (15.0, progress()), (22.0, TOKEN), api="responses")
    assert (30.0, 21.0) == (machine.deadline, machine.clock.max_gap)


def test_progress_of_a_tool_postpones_the_first_token_timeout() -> None:
    """Before the first token the timeout is the later one of first_token and the stall since the last progress."""
    assert 10.0 == reading((1.0, progress()), api="responses").deadline
    machine = reading((1.0, progress()), (8.0, progress()), (15.0, progress()), api="responses")
    assert 23.0 == machine.deadline
    machine.deadline_exceeded()
    assert machine.fault is not None
    assert FaultKind.FIRST_TOKEN_TIMEOUT is machine.fault.kind
