"""What the reader of Chat Completions reads beside text: typed parts, reasoning, media, usage and errors."""

import json
from typing import Any

import pytest

from streamcanary.client.core.answers.answer import AnswerTooLong
from streamcanary.client.core.answers.chat import ChatReader
from streamcanary.client.core.decoding.lenient_json import ErrorReported
from streamcanary.client.core.decoding.sse import ServerSentEvent
from streamcanary.client.core.limits import Limits
from streamcanary.client.result import AudioOutput
from streamcanary.events import ContentDelta, Delta, ReasoningDelta
from streamcanary.model.outcome import Usage


def read(*chunks: dict[str, Any], limits: Limits | None = None) -> tuple[ChatReader, list[Delta]]:
    """Return the reader after these chunks, and the events for the caller."""
    reader, events = ChatReader(limits or Limits()), []
    for chunk in chunks:
        events += reader.read_event(ServerSentEvent("message", json.dumps({"id": "c", **chunk}).encode()))
    return reader, events


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def of(*choices: dict[str, Any]) -> dict[str, Any]:
    return {"choices": list(choices)}


# Messages in place of deltas


def message(finish: str | None = "stop", **fields: Any) -> dict[str, Any]:
    return of({"index": 0, "message": fields, "finish_reason": finish})


CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize("content", ["ab", [{"type": "text", "text": "ab"}], ["a", "b"], "a", "other", "", None])
@pytest.mark.parametrize("more", [{}, {"delta": None}])
def test_message_after_deltas_does_not_repeat_text(content: Any, more: dict[str, Any]) -> None:
    """A last chunk with the whole message in place of a delta, as some servers send it, does not repeat the text."""
    last = of({"index": 0, "message": {"content": content}, "finish_reason": "stop", **more})
    reader, events = read(delta(content="a"), delta(content="b"), last)
    assert ([ContentDelta("a"), ContentDelta("b")], "stop") == (events, reader.answer.finish_reason)


def test_message_after_deltas_adds_what_is_missing() -> None:
    """The message at the end has the rest of text, reasoning and refusal, and the missing calls and media."""
    reader, _ = read(
        delta(reasoning="h", content="a"),
        delta(tool_calls=[{**CALL, "index": 0, "function": {"name": "f", "arguments": "{"}}]),
        message(
            reasoning="hm",
            content="ab",
            refusal="no",
            tool_calls=[CALL, {**CALL, "id": "b"}],
            images=[{"image_url": {"url": "data:,x"}}],
            audio={"data": "AAAA"},
        ),
    )
    answer = reader.answer
    assert ("hm", "ab", "no") == tuple("".join(pieces) for pieces in (answer.reasoning, answer.text, answer.refusal))
    assert [("a", "f", "{}"), ("b", "f", "{}")] == [(call.id, call.name, call.arguments) for call in answer.tool_calls]
    assert (["data:,x"], AudioOutput(data="AAAA"), True) == (answer.images, answer.audio, answer.has_other_output)


def test_media_of_a_message_after_deltas_are_not_repeated() -> None:
    """Media that arrived in deltas are not added again by the message at the end."""
    media = {"images": [{"image_url": {"url": "data:,x"}}], "audio": {"data": "AAAA"}}
    answer = read(delta(**media), message(**media))[0].answer
    assert (["data:,x"], AudioOutput(data="AAAA")) == (answer.images, answer.audio)


def test_messages_alone_are_pieces() -> None:
    """A server that sends only messages in place of deltas sends the answer in pieces, or in one."""
    assert ["po", "ng"] == read(message(None, content="po"), message(content="ng"))[0].answer.text
    assert ["pong"] == read(delta(role="assistant"), message(content="pong"))[0].answer.text


def test_message_without_content_before_deltas_changes_nothing() -> None:
    """A first chunk with an empty message does not make the message at the end a piece."""
    assert ["a", "b"] == read(message(None, role="assistant"), delta(content="a"), message(content="ab"))[0].answer.text


def test_endless_messages_after_deltas_take_bounded_time() -> None:
    """Only the first sixteen messages after deltas are compared with the answer."""
    messages = [message(None, content="a" * size) for size in range(2, 100)]
    assert 1 + 16 == len(read(delta(content="a"), *messages)[0].answer.text)


# Several choices


def choice(index: int | None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"index": index, "delta": fields, "finish_reason": finish}


@pytest.mark.parametrize(
    "chunks",
    [
        [
            of(choice(1, content="no"), choice(0, content="po")),
            of(choice(1, "length"), choice(0, "stop", content="ng")),
        ],
        [of(choice(0, content="po")), of(choice(1, content="no"), choice(0, content="ng")), of(choice(0, "stop"))],
        [of(choice(0, content="po")), of(choice(1, content="no")), of(choice(0, "stop", content="ng"))],
        [of(choice(1, content="po")), of(choice(1, content="ng")), of(choice(1, "stop"))],
        [
            of(choice(2, content="po"), choice(1, content="no")),
            of(choice(1, content="no")),
            of(choice(2, "stop", content="ng")),
        ],
        [
            of(choice(None, content="po")),
            of(choice(0, content="ng")),
            of(choice(1, content="no")),
            of(choice(None, "stop")),
        ],
        [of(), of(choice(0, content="po")), of(choice(0, "stop", content="ng"))],
    ],
    ids=["last first", "later first", "between", "only 1", "without 0", "no index", "none first"],
)
def test_one_choice_is_the_answer(chunks: list[dict[str, Any]]) -> None:
    """Of several choices the one with index 0 is the answer, wherever it is in a chunk; else the first one."""
    answer = read(*chunks)[0].answer
    assert ("pong", "stop") == ("".join(answer.text), answer.finish_reason)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_choice_of_a_body(order: tuple[int, ...]) -> None:
    """Of several choices of a JSON body the one with index 0 is the answer."""
    texts = ("pong", "no")
    choices = [{"index": i, "message": {"content": texts[i]}, "finish_reason": "stop"} for i in order]
    reader = ChatReader()
    reader.read_body(json.dumps({"id": "c", "choices": choices}).encode())
    assert ["pong"] == reader.answer.text


# Content in parts


@pytest.mark.parametrize(
    ("content", "text", "reasoning"),
    [
        ([{"type": "text", "text": "pong"}], "pong", ""),
        ([{"type": "output_text", "text": "po"}, "ng"], "pong", ""),
        ({"type": "text", "text": "pong"}, "pong", ""),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]}], "", "hm"),
        ([{"type": "thinking", "thinking": "hm", "closed": True}], "", "hm"),
        ([{"type": "reasoning", "text": "hm"}], "", "hm"),
        ([{"type": "thinking", "thinking": []}, {"type": "text", "text": "pong"}], "pong", ""),
        ([{"type": "text", "text": "pong"}, {"type": "reference", "reference_ids": [1]}], "pong", ""),
        ([{"type": "tool_reference", "tool": "web_search", "title": "x"}], "", ""),
        ([{"type": "text", "text": None}], "", ""),
    ],
)
def test_content_in_typed_parts_is_read(content: Any, text: str, reasoning: str) -> None:
    """Parts of text are text, parts of thinking are reasoning, and parts of other types are skipped."""
    answer = read(delta(content=content))[0].answer
    assert (text, reasoning, False) == ("".join(answer.text), "".join(answer.reasoning), answer.has_other_output)


def test_part_without_text_is_progress() -> None:
    """A part without text shows that the provider works; the next chunk without content does not."""
    reader, events = read(delta(content=[{"type": "reference", "reference_ids": [1]}]))
    assert ([], True) == (events, reader.progressed)
    reader.read_event(ServerSentEvent("message", json.dumps(delta()).encode()))
    assert False is reader.progressed


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({"reasoning_content": "hm"}, ["hm"]),
        ({"reasoning": "hm"}, ["hm"]),
        ({"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}, ["hm"]),
        ({"reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}]}, ["hm"]),
        ({"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}, ["hm"]),
        ({"reasoning": "hm", "reasoning_content": "hm"}, ["hm"]),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "AAAA"}]}, []),
    ],
)
def test_reasoning_is_read_once(fields: dict[str, Any], reasoning: list[str]) -> None:
    """Reasoning is read from each name that servers use, once if they send it under several."""
    assert reasoning == read(delta(**fields))[0].answer.reasoning


# Images and audio

_URL = "data:image/png;base64,AAAA"


@pytest.mark.parametrize(
    "fields",
    [
        {"images": [{"type": "image_url", "image_url": {"url": _URL}}]},
        {"content": [{"type": "image_url", "image_url": {"url": _URL}}]},
        {"content": [{"type": "image_url", "image_url": _URL}]},
    ],
)
def test_image_is_an_answer(fields: dict[str, Any]) -> None:
    """An answer of images alone has output, and the client keeps their URLs."""
    reader, events = read(delta(**fields))
    answer = reader.answer
    assert ([], True, True, [_URL]) == (events, answer.has_output, reader.progressed, answer.images)


@pytest.mark.parametrize("images", [[None], [{}], [{"image_url": {"url": 5}}], [{"b64_json": "AAAA"}]])
def test_image_in_unknown_form_is_an_answer(images: list[Any]) -> None:
    """An image without a URL is output, although it is not kept."""
    answer = read(delta(images=images))[0].answer
    assert (True, []) == (answer.has_output, answer.images)


def test_audio_is_an_answer_with_its_transcript() -> None:
    """Audio is kept as base64, its transcript is the text of the answer."""
    reader, events = read(
        delta(audio={"id": "audio_1", "transcript": "po"}),
        delta(audio={"transcript": "ng"}),
        delta(audio={"data": "AAA="}),
        delta(audio={"data": "AQE=", "expires_at": 1_800_000_000}),
    )
    answer = reader.answer
    assert [ContentDelta("po"), ContentDelta("ng")] == events
    assert (True, True, "pong") == (reader.progressed, answer.has_output, "".join(answer.text))
    assert AudioOutput(id="audio_1", data="AAABAQ==", transcript="pong", expires_at=1_800_000_000) == answer.audio


def test_audio_without_transcript_is_an_answer() -> None:
    """Audio alone is output, and progress without a token."""
    reader, events = read(delta(audio={"data": "AAAA"}))
    assert ([], True, True) == (events, reader.progressed, reader.answer.has_output)


def test_transcript_beside_text_is_not_text() -> None:
    """The transcript does not repeat text that the answer has."""
    answer = read(delta(content="pong"), delta(audio={"transcript": "pong"}))[0].answer
    assert ["pong"] == answer.text


@pytest.mark.parametrize("audio", [{"id": 5, "data": [], "transcript": None, "expires_at": "x"}, {"expires_at": -1}])
def test_invalid_fields_of_audio_are_ignored(audio: dict[str, Any]) -> None:
    """Fields of audio of a wrong type are ignored."""
    assert AudioOutput() == read(delta(audio=audio))[0].answer.audio


@pytest.mark.parametrize("fields", [{"audio": {"data": "A" * 30}}, {"images": [{"image_url": {"url": "A" * 30}}]}])
def test_size_of_media_is_limited(fields: dict[str, Any]) -> None:
    """Images and audio of an answer together can have four times the characters of its text."""
    limits = Limits(max_answer_characters=10)
    read(delta(**fields), limits=limits)
    with pytest.raises(AnswerTooLong):
        read(delta(**fields), delta(**fields), limits=limits)


# Usage and errors

_COUNTS = {"prompt_tokens": 3, "completion_tokens": 4}


@pytest.mark.parametrize(
    "chunks",
    [
        [{"choices": [], "usage": _COUNTS}],
        [{"usage": _COUNTS}],
        [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": _COUNTS}]}],
        [{**delta("stop"), "x_groq": {"id": "req_1", "usage": _COUNTS}}],
        [{**delta("stop"), "usage": None, "x_groq": {"usage": _COUNTS}}],
        [{"x_groq": {"usage": _COUNTS}}],
        [{**delta("stop"), "usage": {"prompt_tokens": 3, "completion_tokens": 1}}, {"choices": [], "usage": _COUNTS}],
        [{"choices": [], "usage": _COUNTS}, {"choices": [], "usage": {}}],
        [{"choices": [], "usage": _COUNTS}, {"choices": [], "usage": {"prompt_tokens": -1, "completion_tokens": 9}}],
    ],
)
def test_usage_is_read_where_servers_send_it(chunks: list[dict[str, Any]]) -> None:
    """Usage is read from the chunk, its choice, or ``x_groq``, also late; the last valid one is kept."""
    assert Usage(input_tokens=3, output_tokens=4) == read(delta(content="pong"), *chunks)[0].answer.usage


@pytest.mark.parametrize("error", ["over capacity", {"message": "over capacity"}])
def test_groq_error_in_a_chunk_is_an_error(error: object) -> None:
    """``x_groq.error`` in a chunk is an error of the provider."""
    with pytest.raises(ErrorReported) as raised:
        read(delta(content="po"), {**delta(), "x_groq": {"id": "req_1", "error": error}})
    assert error == raised.value.error


# Half surrogate pairs


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["hi \ud83d", "\ude00 bye"], "hi 😀 bye"),
        (["hi ", "\ud83d", "\ude00", " bye"], "hi 😀 bye"),
        (["hi \ud83d", "", "\ude00 bye"], "hi 😀 bye"),
        (["hi \ud83d", "x"], "hi \ufffdx"),
        (["hi \ud83d"], "hi \ufffd"),
        (["\ude00 bye"], "\ufffd bye"),
        (["\ud83d", "\ud83d", "\ude00"], "\ufffd😀"),
        (["a\ud83dé", "b"], "a\ufffdéb"),
    ],
)
def test_halves_of_a_surrogate_pair_are_joined(pieces: list[str], text: str) -> None:
    """Halves in consecutive pieces are one character, a single one is U+FFFD, and no delta has a half."""
    for name, of_answer in (("text", "add_text"), ("reasoning", "add_reasoning"), ("refusal", "add_refusal")):
        answer = ChatReader().answer
        for piece in pieces:
            getattr(answer, of_answer)(piece)
        events = [*answer.take_deltas(), *answer.flush()]
        assert text == "".join(getattr(answer, name))
        assert text == "".join(event.delta for event in events)  # type: ignore[union-attr]
        assert all(event.delta.encode() for event in events)  # type: ignore[union-attr]


def test_halves_in_tool_arguments_are_joined() -> None:
    """Halves in consecutive pieces of arguments are one character."""
    answer = ChatReader().answer
    for piece in ('{"x": "\ud83d', '\ude00"}'):
        answer.add_tool_call(0, "a", "f", piece)
    assert ['{"x": "😀"}'] == [call.arguments for call in answer.tool_calls]
    answer.add_tool_call(1, "b", "g", '"\ud83d')
    answer.flush()
    assert '"\ufffd' == answer.tool_calls[1].arguments


def test_held_half_is_output() -> None:
    """An answer whose only text is half a character has output."""
    answer = ChatReader().answer
    answer.add_text("\ud83d")
    assert ([], True, [ContentDelta("\ufffd")]) == (answer.take_deltas(), answer.has_output, answer.flush())


def test_reasoning_before_the_end_is_flushed() -> None:
    """The last half of the reasoning is delivered as reasoning."""
    answer = ChatReader().answer
    answer.add_reasoning("hm\ud83d")
    assert [ReasoningDelta("hm"), ReasoningDelta("\ufffd")] == [*answer.take_deltas(), *answer.flush()]
