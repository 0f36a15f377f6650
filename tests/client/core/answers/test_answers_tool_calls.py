"""Tool calls: assembled from pieces as servers number them, and checked for complete arguments."""

import json
from typing import Any

import pytest

from streamcanary.client.core.answers.answer import Answer, AnswerTooLong
from streamcanary.client.core.answers.chat import ChatReader
from streamcanary.client.core.answers.responses import ResponsesReader
from streamcanary.client.core.decoding.sse import ServerSentEvent
from streamcanary.events import ToolCallDelta

Call = dict[str, Any]


def call(index: int | None = None, call_id: str | None = None, name: str | None = None, arguments: str = "") -> Call:
    return {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def text_index(piece: Call, prefix: str = "") -> Call:
    return {**piece, "index": f"{prefix}{piece['index']}"}


def without(piece: Call, *keys: str) -> Call:
    return {key: value for key, value in piece.items() if key not in keys}


def read_chat(*deltas: dict[str, Any]) -> tuple[Answer, list[Any]]:
    """Return the answer of a stream whose chunks have these deltas, and the events for the caller."""
    reader, events = ChatReader(), []
    for delta in deltas:
        data = json.dumps({"id": "c", "choices": [{"index": 0, "delta": delta}]}).encode()
        events += reader.read_event(ServerSentEvent("message", data))
    return reader.answer, events


def read_responses(*payloads: dict[str, Any]) -> tuple[Answer, list[Any]]:
    reader, events = ResponsesReader(), []
    for payload in payloads:
        events += reader.read_event(ServerSentEvent(payload["type"], json.dumps(payload).encode()))
    return reader.answer, events


def calls_of(answer: Answer) -> list[tuple[str, str, str]]:
    return [(call.id, call.name, call.arguments) for call in answer.tool_calls]


F_PIECES = [call(0, "a", "f", '{"x"'), call(0, None, None, ": 1}")]
INTERLEAVED = [F_PIECES[0], call(1, "b", "g", '{"y": '), F_PIECES[1], call(1, None, None, "2}")]
F, G = ("a", "f", '{"x": 1}'), ("b", "g", '{"y": 2}')


@pytest.mark.parametrize(
    "pieces",
    [
        [*F_PIECES, call(1, "b", "g", '{"y": 2}')],
        [*F_PIECES, call(0, "b", "g", '{"y": 2}')],
        [*F_PIECES, call(0, "b", "g", ""), call(0, "b", None, '{"y": '), call(0, "", None, "2}")],
        [*F_PIECES, call(0, "b", "g", '{"y": '), call(0, "other", None, "2}")],
        INTERLEAVED,
        [without(call(None, "a", "f", '{"x": 1}'), "index"), without(call(None, "b", "g", '{"y": 2}'), "index")],
        [call(None, "a", "f", '{"x"'), call(None, None, None, ": 1}"), call(None, "b", "g", '{"y": 2}')],
        [call(None, "a", "f", '{"x"'), call(None, "b", "g", '{"y": 2}'), call(None, "a", None, ": 1}")],
        [call(3, "a", "f", '{"x": 1}'), call(7, "b", "g", '{"y": 2}')],
        [*F_PIECES, call(0, "b"), call(0, None, "g", '{"y": 2}')],
        [*F_PIECES, call(0, "b"), call(0, "b", "g"), call(0, "b", None, '{"y": 2}')],
        [call(0, "a", "f"), call(0, "a2", "f", '{"x"'), call(0, "a3", "f", ": 1}"), call(0, "b", "g", '{"y": 2}')],
        [text_index(piece) for piece in INTERLEAVED],
        [text_index(piece, "call_") for piece in INTERLEAVED],
        [call(None, "a", "f", '{"x"'), call(None, "a2", None, ": 1}"), call(None, "b", "g", '{"y": 2}')],
    ],
    ids=[
        "an index each",
        "index 0 and an id each",
        "index 0, ids repeated and empty",
        "another id in each piece",
        "interleaved",
        "no index",
        "null index, pieces without id",
        "null index, interleaved by id",
        "large indexes",
        "the id before the name",
        "the id alone, and repeated",
        "another id and the name in each piece",
        "text indexes",
        "indexes that are no numbers",
        "no index, another id in each piece",
    ],
)
def test_parallel_calls_are_separate(pieces: list[Call]) -> None:
    """Two parallel calls are two calls in the order in which they started, however a server numbers their pieces."""
    answer, events = read_chat(*({"tool_calls": [piece]} for piece in pieces))
    assert [F, G] == calls_of(answer)
    by_index: dict[int, str] = {}
    for event in events:
        assert isinstance(event, ToolCallDelta)
        by_index[event.index] = by_index.get(event.index, "") + event.arguments_delta
    assert {0: F[2], 1: G[2]} == by_index


@pytest.mark.parametrize("index", [0, None])
@pytest.mark.parametrize("call_id", ["", None])
def test_whole_calls_without_id_are_separate(index: int | None, call_id: str | None) -> None:
    """Calls that arrive whole, with the same index and without ids, are one call each, also of the same function."""
    pieces = [call(index, call_id, "f", arguments) for arguments in ('{"x": 1}', '{"x": 2}')]
    expected = [("", "f", '{"x": 1}'), ("", "f", '{"x": 2}')]
    assert expected == calls_of(read_chat(*({"tool_calls": [piece]} for piece in pieces))[0])
    assert expected == calls_of(read_chat({"tool_calls": pieces})[0])


@pytest.mark.parametrize("second", [call(0, "b", "f", '{"x": 2}'), call(0, "b", "f", '{"x": ')])
@pytest.mark.parametrize("space", ["", " ", "\n\n"])
def test_another_id_after_complete_arguments_is_another_call(second: Call, space: str) -> None:
    """Another id with the same index and name starts another call, once the arguments of the first are complete."""
    answer, _ = read_chat(
        {"tool_calls": [call(0, "a", "f", '{"x": {"y": 1}')]},
        {"tool_calls": [call(0, None, None, "}")]},
        {"tool_calls": [call(0, None, None, space)]},
        {"tool_calls": [second]},
    )
    assert ["a", "b"] == [call.id for call in answer.tool_calls]


def test_another_id_in_many_pieces_takes_bounded_time() -> None:
    """Arguments that look complete after each of many pieces are examined 32 times; then all pieces are of one call."""
    pieces = [call(0, f"a{number}", "f", '{"x": [' if number == 0 else "{},[]") for number in range(100)]
    assert 1 == len(read_chat(*({"tool_calls": [piece]} for piece in pieces))[0].tool_calls)


@pytest.mark.parametrize("index", [0, None])
def test_other_name_starts_another_call(index: int | None) -> None:
    """Without ids, another name starts another call, also after a call of a function without parameters."""
    pieces = [call(index, None, "now"), call(index, None, "g", '{"y": 1}'), call(index, None, "now")]
    answer, _ = read_chat(*({"tool_calls": [piece]} for piece in pieces))
    assert [("", "now", ""), ("", "g", '{"y": 1}'), ("", "now", "")] == calls_of(answer)


@pytest.mark.parametrize("ids", [("a", "b"), (None, None)])
def test_pieces_without_index_in_one_chunk(ids: tuple[str | None, ...]) -> None:
    """If one chunk starts two calls without index, the pieces of later chunks with two belong to them in this order."""
    answer, _ = read_chat(
        {"tool_calls": [call(None, ids[0], "f", '{"x"'), call(None, ids[1], "g", '{"y"')]},
        {"tool_calls": [call(None, None, None, ": "), call(None, None, None, ": ")]},
        {"tool_calls": [call(None, None, None, "1}"), call(None, None, None, "2}")]},
    )
    assert [(ids[0] or "", "f", '{"x": 1}'), (ids[1] or "", "g", '{"y": 2}')] == calls_of(answer)


def test_pieces_of_one_call_in_one_chunk() -> None:
    """Two pieces without index and id in one chunk, after calls that started alone, are of the last call."""
    answer, _ = read_chat(
        {"tool_calls": [call(None, "a", "f", '{"x": 1}')]},
        {"tool_calls": [call(None, "b", "g", "{")]},
        {"tool_calls": [call(None, None, None, '"y"'), call(None, None, None, ": 2}")]},
    )
    assert [F, G] == calls_of(answer)


def test_new_item_of_responses_is_another_call() -> None:
    """An item with another id starts another call of the same function, also if the server numbers no items."""
    item = {"type": "function_call", "name": "f", "arguments": ""}
    answer, _ = read_responses(
        *({"type": "response.output_item.added", "item": {**item, "call_id": call_id}} for call_id in ("a", "b"))
    )
    assert [("a", "f", ""), ("b", "f", "")] == calls_of(answer)


@pytest.mark.parametrize("call_id", ["a", "", None])
def test_repeated_name_continues_a_call(call_id: str | None) -> None:
    """A piece that repeats name and id, or has no id, continues the call at its index."""
    answer, _ = read_chat({"tool_calls": [F_PIECES[0]]}, {"tool_calls": [call(0, call_id, "f", ": 1}")]})
    assert [F] == calls_of(answer)


def test_number_of_calls_is_limited() -> None:
    """An answer with more than 128 tool calls is too long, and no setting changes that."""
    pieces = [call(0, f"call_{number}", "f", "{}") for number in range(129)]
    assert 128 == len(read_chat({"tool_calls": pieces[:128]})[0].tool_calls)
    with pytest.raises(AnswerTooLong, match="the answer has more than 128 tool calls, a limit that cannot be raised"):
        read_chat({"tool_calls": pieces})


# Forms of calls


def test_legacy_function_call_is_a_tool_call() -> None:
    """The older ``function_call`` is a tool call without an id."""
    answer, _ = read_chat(
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"x"'}},
        {"function_call": {"arguments": ": 1}"}},
    )
    assert ([("", "f", '{"x": 1}')], True) == (calls_of(answer), answer.has_output)


def test_legacy_function_call_in_a_body_is_a_tool_call() -> None:
    """A JSON body with the older ``function_call`` has a tool call."""
    message = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    body = {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "function_call"}]}
    reader = ChatReader()
    reader.read_body(json.dumps(body).encode())
    assert ([("", "f", "{}")], "function_call") == (calls_of(reader.answer), reader.answer.finish_reason)


def test_call_in_both_forms_is_one_call() -> None:
    """A chunk with the same call as ``function_call`` and as ``tool_calls`` has one call."""
    delta = {"tool_calls": [call(0, "a", "f", '{"x": 1}')], "function_call": {"name": "f", "arguments": '{"x": 1}'}}
    assert [F] == calls_of(read_chat(delta)[0])


def test_calls_of_a_body_are_separate() -> None:
    """Each element of ``tool_calls`` in a JSON body is a call, with or without index and id."""
    calls = [without(call(None, None, "f", ""), "index", "id"), without(call(None, None, "g", "{}"), "index", "id")]
    body = {"id": "c", "choices": [{"message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]}
    reader = ChatReader()
    reader.read_body(json.dumps(body).encode())
    assert [("", "f", ""), ("", "g", "{}")] == calls_of(reader.answer)


def test_custom_tool_call_has_its_input() -> None:
    """A call of a custom tool of Chat Completions has the input as its arguments."""
    start = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "sql", "input": ""}}
    answer, _ = read_chat(
        {"tool_calls": [start]},
        {"tool_calls": [{"index": 0, "custom": {"input": "SELECT "}}]},
        {"tool_calls": [{"index": 0, "custom": {"input": "1"}}]},
    )
    assert [("a", "sql", "SELECT 1")] == calls_of(answer)
    assert ["custom"] == [call.type for call in answer.tool_calls]


# Complete arguments


@pytest.mark.parametrize(
    "arguments",
    [
        *("", " ", "{}", '{"x": 1}', '{"x": NaN}', '{"x": -Infinity}', '{"x": "\\ud83d"}', '"é"'),
        *('{"x": "a\nb"}', '{"x": \n"\t"}', '\ufeff{"x": 1}', '{"x": "\ufeff"}'),
    ],
)
def test_complete_arguments_are_valid(arguments: str) -> None:
    """What ``json.loads`` reads without ``strict`` is complete, also after a byte order mark; so are no arguments."""
    assert None is read_chat({"tool_calls": [call(0, "a", "f", arguments)]})[0].malformed_tool_call()


@pytest.mark.parametrize("arguments", ["{", '{"x"', '{"x": 1', '{"x": "a', '{"x": NaN', '\ufeff{"x": ', "[1, "])
def test_incomplete_arguments_are_malformed(arguments: str) -> None:
    """Arguments that end in the middle of JSON are malformed; the message names the call and their end."""
    answer, _ = read_chat({"tool_calls": [call(0, "a", "f", "{}"), call(1, "b", "get\x1b_weather", arguments)]})
    assert (
        f"the arguments of tool call 2 (get _weather) are not complete JSON: they end after {len(arguments)} characters"
    ) == answer.malformed_tool_call()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("{'x':1}", "Expecting property name enclosed in double quotes at character 2 of 7"),
        ("\ufeff{'x':1}", "Expecting property name enclosed in double quotes at character 3 of 8"),
        ("{}{}", "Extra data at character 3 of 4"),
        ('{"x": 1}}', "Extra data at character 9 of 9"),
        ("nul", "Expecting value at character 1 of 3"),
        ("[" * 100_000, "they are nested too deep"),
        (f"{{'x':{' ' * (1 << 20)}}}", "JSON is malformed: expected '\"' (byte 1)"),
    ],
)
def test_arguments_that_are_not_json_are_malformed(arguments: str, problem: str) -> None:
    """Arguments that are no JSON are malformed; the message says what is wrong, and where."""
    answer, _ = read_chat({"tool_calls": [call(0, "a", "f", arguments)]})
    assert f"the arguments of tool call 1 (f) are not JSON: {problem}" == answer.malformed_tool_call()


def test_input_of_custom_tools_is_not_checked() -> None:
    """The input of a custom tool is free text, in both APIs."""
    chat, _ = read_chat({"tool_calls": [{"index": 0, "type": "custom", "custom": {"name": "sql", "input": "{"}}]})
    item = {"type": "custom_tool_call", "call_id": "a", "name": "sql", "input": ""}
    responses, _ = read_responses(
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.custom_tool_call_input.delta", "output_index": 0, "delta": "{"},
        {"type": "response.output_item.done", "output_index": 0, "item": {**item, "input": "{"}},
    )
    assert (None, None) == (chat.malformed_tool_call(), responses.malformed_tool_call())
    assert [("a", "sql", "{")] == calls_of(responses)


def test_incomplete_arguments_of_responses_are_malformed() -> None:
    """Incomplete arguments of a function call of the Responses API are malformed."""
    answer, _ = read_responses(
        {
            "type": "response.output_item.added",
            "output_index": 1,
            "item": {"type": "function_call", "call_id": "a", "name": "f", "arguments": ""},
        },
        {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": '{"x'},
    )
    assert "the arguments of tool call 1 (f) are not complete JSON: they end after 3 characters" == (
        answer.malformed_tool_call()
    )


@pytest.mark.parametrize(
    "pieces",
    [
        [call(0, "a", "get_"), call(0, None, "weather"), call(0, None, None, "{}")],
        [call(0, "a", "get_"), call(0, None, "get_weather"), call(0, None, None, "{}")],
        [call(0, "a", "get_weather"), call(0, None, "get_weather"), call(0, None, None, "{}")],
    ],
)
def test_a_name_in_pieces_is_one_name(pieces: list[Call]) -> None:
    """A name that goes on before the arguments begin belongs to the same call, if only the first piece has an id."""
    answer, _ = read_chat(*({"tool_calls": [piece]} for piece in pieces))
    assert [("a", "get_weather", "{}")] == calls_of(answer)
