"""How the provider serves the model: system fingerprint, service tier, and the tokens of reasoning."""

import json
from typing import Any

import pytest

from streamcanary.client.core.answers.answer import Answer
from streamcanary.client.core.answers.chat import ChatReader
from streamcanary.client.core.answers.responses import ResponsesReader
from streamcanary.client.core.decoding.sse import ServerSentEvent
from streamcanary.model.outcome import Usage
from streamcanary.model.redaction.redactor import redactor_for

SECRET = "sk-live-0123456789abcdef"


def event(**fields: Any) -> ServerSentEvent:
    return ServerSentEvent("", json.dumps(fields).encode())


def read_chat(*events: ServerSentEvent) -> Answer:
    reader = ChatReader()
    reader.answer.redactor = redactor_for((SECRET,))
    for each in events:
        reader.read_event(each)
    return reader.answer


def chat_chunk(**fields: Any) -> ServerSentEvent:
    return event(id="c", model="m", choices=[{"delta": {"content": "Hi"}}], **fields)


def test_chat_chunks_have_fingerprint_and_tier() -> None:
    """The last fingerprint and tier of a stream of Chat Completions are those of the answer."""
    answer = read_chat(
        chat_chunk(system_fingerprint="fp_1", service_tier="auto"),
        chat_chunk(),
        chat_chunk(system_fingerprint=None, service_tier=None),
        chat_chunk(system_fingerprint="fp_2", service_tier="default"),
    )
    assert ("fp_2", "default") == (answer.system_fingerprint, answer.service_tier)


def test_a_response_has_a_tier() -> None:
    """The Responses API reports the tier in the response, at its start and at its end."""
    reader = ResponsesReader()
    reader.read_event(event(type="response.created", response={"id": "r", "model": "m", "service_tier": "auto"}))
    assert "auto" == reader.answer.service_tier
    usage = {"input_tokens": 1, "output_tokens": 9, "output_tokens_details": {"reasoning_tokens": 4}}
    end = {"id": "r", "model": "m", "service_tier": "flex", "output": [], "usage": usage}
    reader.read_event(event(type="response.completed", response=end))
    assert ("flex", None) == (reader.answer.service_tier, reader.answer.system_fingerprint)
    assert Usage(input_tokens=1, output_tokens=9, reasoning_tokens=4) == reader.answer.usage


@pytest.mark.parametrize("value", [5, [], {}, True, "", None])
def test_a_value_of_another_type_is_ignored(value: Any) -> None:
    """A fingerprint or tier that is not text is as if it was not sent, and does not hide the answer."""
    answer = read_chat(chat_chunk(system_fingerprint=value, service_tier=value))
    assert (None, None, ["Hi"]) == (answer.system_fingerprint, answer.service_tier, answer.text)


def test_hostile_values_are_redacted_and_bounded() -> None:
    """A secret in a fingerprint is removed, and a megabyte is cut."""
    answer = read_chat(chat_chunk(system_fingerprint=f"fp {SECRET}\x1b[2J", service_tier="x" * 1_000_000))
    assert (True, False, 128) == (
        "[redacted]" in (answer.system_fingerprint or ""),
        SECRET in (answer.system_fingerprint or ""),
        len(answer.service_tier or ""),
    )


@pytest.mark.parametrize("reasoning", [-1, 12, 2**70, "7", None, 1.5])
def test_impossible_reasoning_tokens_are_ignored(reasoning: Any) -> None:
    """Reasoning tokens that are not a part of the output tokens are as if they were not sent."""
    details = {
        "prompt_tokens": 3,
        "completion_tokens": 11,
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }
    assert Usage(input_tokens=3, output_tokens=11) == read_chat(chat_chunk(usage=details)).usage
