"""Prompt and answer as attributes of the span of a call, in the JSON schemas of the GenAI conventions; opt-in.

Schemas: gen-ai-input-messages.json, gen-ai-output-messages.json and gen-ai-system-instructions.json of
https://github.com/open-telemetry/semantic-conventions-genai. The attributes are JSON text, as the conventions ask for
where structured attributes do not exist.

All text is redacted with the secrets of the request, and bounded: each attribute has at most 4,096 characters of text,
and 64 messages, the latest ones. Data of images, audio and files is left out.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from opentelemetry.util.types import AttributeValue

from streamcanary.client.result import StreamResult, ToolCall
from streamcanary.model import names
from streamcanary.model.redaction.redactor import Redactor

MAX_TEXT = 4096
"""Characters of text in one attribute."""
MAX_MESSAGES = 64
"""Messages, and parts of a message, in one attribute."""

_log = logging.getLogger(__name__)
_MARGIN = 1024  # characters searched for secrets after those that are wanted: the rest of one, and what masks shorten
_MAX_SEARCHED = 4 * MAX_TEXT  # characters of one attribute that are searched: it happens on the caller's event loop
_TEXT_OVERHEAD = 16  # characters that each text counts in addition, because empty ones take room in the JSON, too
_MAX_NAME = 128  # characters of a role, an id or the name of a tool
_FINISH_REASONS = {"tool_calls": "tool_call", "function_call": "tool_call"}  # to those of the conventions
_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal"})

Part = dict[str, Any]
Message = dict[str, Any]


def input_attributes(arguments: Mapping[str, Any], redactor: Redactor) -> dict[str, AttributeValue]:
    """Return the attributes of the request with these ``arguments`` of either API.

    Nothing that a request contains can make the call fail: content that cannot be recorded is left out, and logged.
    """
    try:
        attributes: dict[str, AttributeValue] = {}
        given = arguments.get("messages", arguments.get("input"))
        if messages := _input_messages(given, _Text(redactor)):
            attributes[names.INPUT_MESSAGES] = _json(messages)
        if isinstance(instructions := arguments.get("instructions"), str) and instructions:
            attributes[names.SYSTEM_INSTRUCTIONS] = _json([_text_part(_Text(redactor).take(instructions))])
    except Exception:  # noqa: BLE001 - logged: whatever objects the caller passes, telemetry must not fail the call
        _log.debug("content of the request not recorded", exc_info=True)
        return {}
    return attributes


def output_attributes(result: StreamResult, redactor: Redactor) -> dict[str, AttributeValue]:
    """Return the attributes of a complete answer."""
    reason = result.finish_reason or ""
    return _output_attributes(_output_parts(result, redactor), _FINISH_REASONS.get(reason, reason))


def partial_output_attributes(partial: StreamResult, redactor: Redactor) -> dict[str, AttributeValue]:
    """Return the attributes of what a failed call had received; none if that was nothing."""
    parts = _output_parts(partial, redactor)
    return _output_attributes(parts, "error") if parts else {}


def _output_parts(result: StreamResult, redactor: Redactor) -> list[Part]:
    text = _Text(redactor)
    parts: list[Part] = []
    if result.text:
        parts.append(_text_part(text.take(result.text)))
    if result.refusal:
        parts.append({"type": "refusal", "content": text.take(result.refusal)})
    parts += [_tool_call_part(call, text) for call in result.tool_calls[:MAX_MESSAGES]]
    if result.reasoning:
        parts.insert(0, {"type": "reasoning", "content": text.take(result.reasoning)})
    return parts + [{"type": "image"} for _ in result.images[:MAX_MESSAGES]]


def _output_attributes(parts: list[Part], reason: str) -> dict[str, AttributeValue]:
    return {names.OUTPUT_MESSAGES: _json([{"role": "assistant", "parts": parts, "finish_reason": reason}])}


class _Text:
    """Redacts texts, and bounds their total length, before and after the redaction."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._remaining = MAX_TEXT
        self._searchable = _MAX_SEARCHED

    @property
    def is_used_up(self) -> bool:
        """Whether no character is left."""
        return self._remaining <= 1 or self._searchable <= _MARGIN

    def take(self, value: object, limit: int = MAX_TEXT) -> str:
        """Return text without secrets; cut with ``…`` if it is longer than ``limit`` or what is left."""
        if self.is_used_up:
            return "…"
        given = str(value)
        limit = min(limit, self._remaining)
        window = min(limit + _MARGIN, self._searchable)
        text = self._redactor.scrub(given, limit, lines=True, window=window)
        if len(given) > window and not text.endswith("…"):
            text = f"{text[: limit - 1]}…"
        self._remaining -= len(text) + _TEXT_OVERHEAD
        self._searchable -= min(len(given), window)
        return text


def _input_messages(given: object, text: _Text) -> list[Message]:
    if isinstance(given, str):
        return [{"role": "user", "parts": [_text_part(text.take(given))]}]
    if not isinstance(given, Iterable):
        return []
    messages: list[Message] = []
    for item in list(given)[-MAX_MESSAGES:][::-1]:  # the latest first: they get their text before earlier ones
        if text.is_used_up:
            break
        messages.append(_input_message(_mapping(item), text))
    return messages[::-1]


def _input_message(item: Mapping[str, Any], text: _Text) -> Message:
    kind = item.get("type")
    if kind == "function_call":  # of Responses, as is the next one
        part = _tool_call(item.get("call_id"), item.get("name"), item.get("arguments"), text)
        return {"role": "assistant", "parts": [part]}
    if kind == "function_call_output":
        return {"role": "tool", "parts": [_tool_response(item.get("call_id"), item.get("output"), text)]}
    role = text.take(item.get("role") or "user", _MAX_NAME)
    content = item.get("content")
    if role == "tool":
        return {"role": role, "parts": [_tool_response(item.get("tool_call_id"), content, text)]}
    parts = [_text_part(text.take(content))] if isinstance(content, str) else list(_content_parts(content, text))
    calls = item.get("tool_calls")
    for call in calls[:MAX_MESSAGES] if isinstance(calls, list) else ():
        described = _mapping(call)
        function = _mapping(described.get("function") or described.get("custom"))
        arguments = function.get("arguments", function.get("input"))
        parts.append(_tool_call(described.get("id"), function.get("name"), arguments, text))
    return {"role": role, "parts": parts}


def _content_parts(content: object, text: _Text) -> Iterator[Part]:
    if not isinstance(content, Iterable):
        return
    for item in list(content)[:MAX_MESSAGES]:
        part = _mapping(item)
        kind = text.take(part.get("type") or "unknown", _MAX_NAME)
        if kind in _TEXT_PARTS:
            yield _text_part(text.take(part.get("text") or part.get("refusal") or ""))
        else:
            yield {"type": kind}  # an image, audio or a file: only that there was one


def _tool_call_part(call: ToolCall, text: _Text) -> Part:
    return _tool_call(call.id, call.name, call.arguments, text)


def _tool_call(call_id: object, name: object, arguments: object, text: _Text) -> Part:
    given = text.take(arguments if arguments is not None else "")
    try:
        msgspec.json.decode(given)
        value: object = msgspec.Raw(given.encode())
    except (msgspec.DecodeError, RecursionError):  # cut, the input of a custom tool, or nested without end
        value = given
    return {
        "type": "tool_call",
        "id": text.take(call_id or "", _MAX_NAME),
        "name": text.take(name or "", _MAX_NAME),
        "arguments": value,
    }


def _tool_response(call_id: object, response: object, text: _Text) -> Part:
    if not isinstance(response, str):
        response = "\n".join(str(part.get("content", "")) for part in _content_parts(response, text))
    return {
        "type": "tool_call_response",
        "id": text.take(call_id or "", _MAX_NAME),
        "response": text.take(response),
    }


def _text_part(content: str) -> Part:
    return {"type": "text", "content": content}


def _mapping(value: object) -> Mapping[str, Any]:
    """Return an item of a request as a mapping; those that the SDK has returned are its own objects."""
    if isinstance(value, Mapping):
        return value
    to_dict = getattr(value, "to_dict", None)
    converted = to_dict() if callable(to_dict) else {}
    return converted if isinstance(converted, Mapping) else {}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
