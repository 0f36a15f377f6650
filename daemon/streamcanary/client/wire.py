"""What Chat Completions servers send, as loosely as they send it.

Every field is optional, unknown ones are ignored: real servers send ``choices: null`` and leave ``delta`` out. Where a
field has another type than expected, the whole message is read again without types and what fits is kept.
"""

import typing
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

_T = TypeVar("_T", bound=Struct)


class Function(Struct, gc=False):
    """A part of a function call: its name comes first and whole, its arguments in pieces."""

    name: str | None = None
    arguments: str | None = None


class ToolCallChunk(Struct):
    """A part of a tool call; ``index`` says of which."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: Function | None = None


class Delta(Struct):
    """What a chunk adds to the message. Reasoning goes by two names in the field."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallChunk] | None = None


class Choice(Struct):
    """One choice; streamed ones have a ``delta``, whole ones a ``message``."""

    index: int | None = None
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None


class TokenUsage(Struct, gc=False):
    """Tokens, as the provider counts them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class ChatMessage(Struct):
    """A chunk of a streamed completion, a whole completion, or an error: they share their outer shape."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    choices: list[Choice] | None = None
    usage: TokenUsage | None = None
    error: Any = None


_decode_chat = msgspec.json.Decoder(ChatMessage).decode


def decode_chat(data: bytes) -> tuple[ChatMessage, bool]:
    """Return the message in ``data``, and whether it is one: a JSON object with at least one field that we know.

    Raises:
        msgspec.DecodeError: if ``data`` is not JSON in UTF-8.
    """
    try:
        message = _decode_chat(data)
    except msgspec.ValidationError:
        untyped = decode_untyped(data)
        message = fitting(ChatMessage, untyped) if isinstance(untyped, dict) else ChatMessage()
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None
    known = message.choices is not None or message.error is not None or message.id is not None
    return message, known or message.usage is not None


def decode_untyped(data: bytes) -> Any:
    """Return the JSON in ``data`` as plain objects.

    Raises:
        msgspec.DecodeError: if ``data`` is not JSON in UTF-8, or nested too deep.
    """
    try:
        return msgspec.json.decode(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None


def fitting(struct: type[_T], untyped: dict[str, Any]) -> _T:
    """Return a ``struct`` of those fields of ``untyped`` that have the type it wants; the others keep their default."""
    kept: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        if (value := untyped.get(field.encode_name)) is None:
            continue
        try:
            kept[field.name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            if (nearest := _nearest(field.type, value)) is not None:
                kept[field.name] = nearest
    return struct(**kept)


def _nearest(wanted: Any, value: Any) -> Any:
    """Return what fits of a nested object, or of each object in a list."""
    for option in typing.get_args(wanted) or (wanted,):
        if isinstance(option, type) and issubclass(option, Struct) and isinstance(value, dict):
            return fitting(option, value)
        if typing.get_origin(option) is list and isinstance(value, list):
            (item_type,) = typing.get_args(option)
            return [fitting(item_type, item) for item in value if isinstance(item, dict)]
    return None
