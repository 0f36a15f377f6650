"""Assembles tool calls from the pieces of a stream, and finds those whose arguments are not JSON.

A call starts with its name. Servers number the pieces in different ways, and this module reads all of these:

- each call has its own index, and its id is in the first piece or in all of them: OpenAI, vLLM, SGLang;
- all calls have index 0, or no index, and each has its own id: Gemini's compatible endpoint;
- the id is null, empty, or another one in each piece: a piece without a name always continues a call.
"""

import json
from collections.abc import Iterator
from typing import Final

import msgspec

from streamcanary.client.core.decoding.surrogates import SurrogateJoiner, replace_halves
from streamcanary.client.result import ToolCall, ToolCallType
from streamcanary.model.redaction.redactor import scrub

MAX_TOOL_CALLS: Final = 128
"""Calls in one answer: the number of tools that the API allows to be declared."""

_MAX_NAME_LENGTH: Final = 256
_MAX_PYTHON_JSON: Final = 1 << 20  # characters that json.loads checks: unlike msgspec, it builds what it reads


class TooManyToolCalls(Exception):
    """The answer has more than :data:`MAX_TOOL_CALLS` tool calls."""


class PartialToolCall:
    """A tool call in progress. ``position`` is its place among the calls of the answer."""

    __slots__ = ("arguments", "id", "joiner", "name", "position", "type")

    def __init__(self, position: int, call_type: ToolCallType) -> None:
        self.position = position
        self.type = call_type
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.joiner = SurrogateJoiner()

    def identify(self, call_id: str | None, name: str | None) -> None:
        """Set id and name, unless they are known."""
        self.id = self.id or _shorten(call_id)
        self.name = self.name or _shorten(name)

    def has_other_id(self, call_id: str | None) -> bool:
        """Return whether both ids are known and differ."""
        return bool(call_id and self.id) and _shorten(call_id) != self.id

    def starts_another(self, call_id: str | None, name: str | None, arguments: str | None) -> bool:
        """Return whether a piece for the same index is the start of another call."""
        if not name:
            return False
        if call_id and self.id:
            return self.has_other_id(call_id)
        if call_id or not self.name or not self.arguments:
            return False
        is_whole = len(self.arguments) == 1 and bool(arguments) and is_json(self.arguments[0])
        return is_whole or _shorten(name) != self.name


class ToolCalls:
    """The tool calls of one answer, in the order in which they started."""

    __slots__ = ("_by_index", "_calls")

    def __init__(self) -> None:
        self._calls: list[PartialToolCall] = []
        self._by_index: dict[int | str, PartialToolCall] = {}  # the latest call of each index

    def __bool__(self) -> bool:
        return bool(self._calls)

    def __iter__(self) -> Iterator[PartialToolCall]:
        return iter(self._calls)

    def find(self, index: int | str | None, call_id: str | None = None) -> PartialToolCall | None:
        """Return the latest call at ``index``; without an index that with the id ``call_id``, or the last one."""
        if index is not None:
            return self._by_index.get(index)
        if call_id:
            call_id = _shorten(call_id)
            return next((call for call in reversed(self._calls) if call.id == call_id), None)
        return self._calls[-1] if self._calls else None

    def find_whole(self, position: int, call_id: str | None) -> PartialToolCall | None:
        """Return the call with the id ``call_id``, or the one at ``position`` if one of the two ids is not known."""
        call = self.find(None, call_id) if call_id else None
        if call is None and position < len(self._calls) and not self._calls[position].has_other_id(call_id):
            call = self._calls[position]
        return call

    def add(
        self,
        index: int | str | None,
        call_id: str | None,
        name: str | None,
        arguments: str | None,
        call_type: ToolCallType = "function",
    ) -> PartialToolCall:
        """Add a piece, except for its arguments, and return its call; the first id and name of a call are kept.

        Raises:
            TooManyToolCalls: if the piece starts a call over the limit.
        """
        call = self.find(index, call_id)
        if call is None or call.starts_another(call_id, name, arguments):
            if len(self._calls) >= MAX_TOOL_CALLS:
                raise TooManyToolCalls(f"the answer has more than {MAX_TOOL_CALLS} tool calls")
            call = PartialToolCall(len(self._calls), call_type)
            self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        call.identify(call_id, name)
        return call

    def complete(self) -> tuple[ToolCall, ...]:
        """Return the calls with what has arrived of their arguments."""
        return tuple(
            ToolCall(id=call.id, name=call.name, arguments="".join(call.arguments), type=call.type)
            for call in self._calls
        )

    def malformed(self) -> str | None:
        """Return a message about the first function call whose arguments are not JSON; ``None`` if there is none.

        No arguments at all are those of a function without parameters. The input of a custom tool has any form.
        """
        for call in self._calls:
            arguments = "".join(call.arguments)
            if call.type == "function" and arguments.strip() and not is_json(arguments):
                name = scrub(call.name, limit=64) or "without a name"
                return (
                    f"the arguments of tool call {call.position + 1} ({name}) are not complete JSON: "
                    f"they end after {len(arguments)} characters"
                )
        return None


def _shorten(name: str | None) -> str:
    return replace_halves((name or "")[:_MAX_NAME_LENGTH])


def arguments_text(arguments: object) -> str:
    """Return the arguments of a call as text; some servers send them as a JSON object.

    Raises:
        msgspec.DecodeError: if the object cannot be JSON text.
    """
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    try:
        return json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        raise msgspec.DecodeError(f"the arguments of a tool call are unreadable: {error}") from None


def is_json(text: str) -> bool:
    """Return whether ``text`` is one JSON value, as msgspec or ``json.loads`` read it (which accepts ``NaN``)."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except RecursionError:
        return False
    except (msgspec.DecodeError, UnicodeEncodeError):
        return len(text) <= _MAX_PYTHON_JSON and _is_python_json(text)
    return True


def _is_python_json(text: str) -> bool:
    try:
        json.loads(text, parse_int=len, parse_float=len, object_pairs_hook=len)
    except (ValueError, RecursionError):
        return False
    return True
