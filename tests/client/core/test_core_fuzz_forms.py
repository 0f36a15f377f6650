"""Properties of answers in all the forms in which servers send them, for any order and any split of the bytes."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamcanary.client.core.attempt import Api, AttemptMachine
from streamcanary.client.core.response_head import ResponseHead
from streamcanary.client.timeouts import Timeouts
from streamcanary.events import ContentDelta, Delta, ToolCallDelta
from support.client.stream_strategies import APIS, join_deltas, split, split_points
from support.hypothesis_profile import count_example, examples, report_example_count

__all__ = ["report_example_count"]

EVENT_STREAM = ResponseHead(200, {"content-type": "text/event-stream"})
TIMEOUTS = Timeouts(connect=1, headers=2, first_token=5, stall=3, total=60)

_CALLS = st.fixed_dictionaries(
    {
        "function": st.fixed_dictionaries(
            {}, optional={"name": st.sampled_from("fg"), "arguments": st.sampled_from("{}")}
        )
    },
    optional={"index": st.sampled_from([0, 1, None]), "id": st.sampled_from(["a", "b", "", None])},
)
_TEXTS = st.sampled_from(["po", "ng", "\ud83d", "\ude00", "hi \ud83d", "é", ""])
_CHUNKS = st.one_of(
    st.fixed_dictionaries({"content": _TEXTS}),
    st.fixed_dictionaries({"reasoning": _TEXTS}),
    st.fixed_dictionaries({"refusal": _TEXTS}),
    st.fixed_dictionaries({"tool_calls": st.lists(_CALLS, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"audio": st.fixed_dictionaries({}, optional={"transcript": _TEXTS, "data": _TEXTS})}),
    st.fixed_dictionaries({"content": st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": _TEXTS}))}),
    st.just({"images": [{"image_url": {"url": "data:,x"}}]}),
    st.just({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}),
    st.just({"function_call": {"name": "f", "arguments": "{"}}),
)
_ITEMS = st.one_of(
    st.just({"type": "message", "content": [{"type": "output_text", "text": "pong"}]}),
    st.just({"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}),
    st.just({"type": "web_search_call"}),
    st.builds(
        lambda kind, call_id: {"type": kind, "call_id": call_id, "name": "f", "arguments": "{}", "input": "{}"},
        st.sampled_from(["function_call", "custom_tool_call"]),
        st.sampled_from(["a", "b", None]),
    ),
)
_INDEXES = st.fixed_dictionaries(
    {}, optional={"output_index": st.integers(0, 1), "content_index": st.integers(0, 1), "item_id": st.just("i")}
)
_EVENTS = st.builds(
    lambda kind, fields, place: {"type": f"response.{kind}", **place, **fields},
    st.sampled_from(
        [
            *(f"{text}.{end}" for text in ("output_text", "refusal", "reasoning_text") for end in ("delta", "done")),
            *(f"function_call_arguments.{end}" for end in ("delta", "done")),
            *(f"output_item.{end}" for end in ("added", "done")),
            "content_part.done",
            "audio.transcript.delta",
        ]
    ),
    st.fixed_dictionaries(
        {
            "delta": _TEXTS,
            "text": _TEXTS,
            "refusal": _TEXTS,
            "arguments": _TEXTS,
            "item": _ITEMS,
            "part": st.fixed_dictionaries({"type": st.just("output_text"), "text": _TEXTS}),
        }
    ),
    _INDEXES,
).map(lambda event: event if event["type"].endswith("delta") else {**event, "delta": None})


def _payloads(api: Api, pieces: list[dict[str, Any]], output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if api == "responses":
        response = {"id": "r", "status": "completed", "output": output}
        return [*pieces, {"type": "response.completed", "response": response}]
    return [
        *({"id": "c", "choices": [{"index": 0, "delta": piece}]} for piece in pieces),
        {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]


@st.composite
def _streams(draw: st.DrawFn) -> tuple[Api, bytes]:
    api = draw(st.sampled_from(APIS))
    pieces = draw(st.lists(_CHUNKS if api == "chat" else _EVENTS, max_size=8))
    payloads = _payloads(api, pieces, draw(st.lists(_ITEMS, max_size=3)))
    return api, b"".join(b"data: " + json.dumps(payload).encode() + b"\n\n" for payload in payloads)


def _attempt(api: Api, pieces: list[bytes]) -> tuple[AttemptMachine, list[Delta]]:
    machine = AttemptMachine(TIMEOUTS, started=0, api=api)
    machine.headers_received(EVENT_STREAM, wall_time=0)
    deltas = [delta for piece in pieces for delta in machine.feed(piece, 1)]
    return machine, [*deltas, *machine.feed_eof(1), *machine.answer.flush()]


@examples(sample=150, fuzz=16_000)
@given(stream=_streams(), where=split_points)
def test_deltas_are_the_answer_for_any_split(part: int, stream: tuple[Api, bytes], where: list[int] | None) -> None:
    """The deltas make up the answer, contain no half of a surrogate pair, and do not depend on the split."""
    count_example()
    api, data = stream
    machine, deltas = _attempt(api, split(data, where))
    answer = machine.answer
    text, reasoning, refusal, arguments = join_deltas(deltas)
    assert (text, reasoning, refusal) == tuple(
        "".join(pieces) for pieces in (answer.text, answer.reasoning, answer.refusal)
    )
    assert arguments == "".join(call.arguments for call in answer.tool_calls)
    assert "".join((text, reasoning, refusal, arguments)).encode() is not None
    indexes = {delta.index for delta in deltas if isinstance(delta, ToolCallDelta)}
    assert indexes == set(range(len(answer.tool_calls)))
    assert "" not in [delta.delta for delta in deltas if isinstance(delta, ContentDelta)]
    at_once, _ = _attempt(api, [data])
    assert (at_once.fault, at_once.answer.text, at_once.answer.tool_calls, at_once.answer.raw) == (
        machine.fault,
        answer.text,
        answer.tool_calls,
        answer.raw,
    )
