"""Assembles tool calls from the pieces of a stream, and finds those whose arguments are not JSON.

A call starts with its name. Servers number the pieces in different ways, and this module reads all of these:

- each call has its own index, and its id is in the first piece or in all of them: OpenAI, vLLM, SGLang;
- all calls have index 0, or no index, and each has its own id: Gemini's compatible endpoint;
- the id is null, empty, or another one in each piece: a piece without a name always continues a call, and so does one
  with the same name and another id while the arguments are incomplete;
- the id comes in a piece of its own before the name;
- several pieces in one chunk have neither index nor id: they are in the order in which one chunk started their calls.
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
_MAX_CHECKS: Final = 32  # of arguments that are not complete yet, in one call; each reads all of them
_BOM: Final = "\ufeff"


class TooManyToolCalls(Exception):
    """The answer has more than :data:`MAX_TOOL_CALLS` tool calls."""


class PartialToolCall:
    """A tool call in progress. ``position`` is its place among the calls of the answer."""

    __slots__ = ("_checks", "arguments", "id", "joiner", "name", "next_id", "position", "type")

    def __init__(self, position: int, call_type: ToolCallType) -> None:
        self._checks = 0
        self.position = position
        self.type = call_type
        self.id = ""
        self.name = ""
        self.next_id = ""  # an id that arrived alone: that of the next call, if one starts
        self.arguments: list[str] = []
        self.joiner = SurrogateJoiner()

    def identify(self, call_id: str | None, name: str | None) -> None:
        """Set id and name, unless they are known; a name can arrive in pieces, before the arguments."""
        if name and self.name and _shorten(name) != self.name and self._continues_name(call_id):
            self.name = _shorten(name if name.startswith(self.name) else self.name + name)
        self.id = self.id or _shorten(call_id)
        self.name = self.name or _shorten(name)

    def has_other_id(self, call_id: str | None) -> bool:
        """Return whether both ids are known and differ."""
        return bool(call_id and self.id) and _shorten(call_id) != self.id

    def starts_another(self, call_id: str | None, name: str | None, arguments: str | None) -> bool:
        """Return whether a piece for the same index is the start of another call."""
        if not name or (call_id and self.id and not self.has_other_id(call_id)):
            return False
        if not self.name:
            return self.has_other_id(call_id)
        if _shorten(name) != self.name:
            return not self._continues_name(call_id)
        if self.has_other_id(call_id):
            return self.type == "custom" or self._is_complete()
        return len(self.arguments) == 1 and bool(arguments) and is_json(self.arguments[0])

    def _continues_name(self, call_id: str | None) -> bool:
        """Return whether another name is the rest of this one: the piece has no id, and no arguments came before."""
        return bool(self.id) and not call_id and not any(self.arguments)

    def _is_complete(self) -> bool:
        """Return whether the arguments so far are JSON; after many checks, that they are not."""
        end = "".join(piece[-64:] for piece in self.arguments[-4:]).rstrip()  # few: hostile servers send many pieces
        if not end.endswith(("}", "]")) or self._checks >= _MAX_CHECKS:
            return False
        self._checks += 1
        return is_json("".join(self.arguments))


class ToolCalls:
    """The tool calls of one answer, in the order in which they started."""

    __slots__ = ("_by_index", "_calls", "_places")

    def __init__(self) -> None:
        self._calls: list[PartialToolCall] = []
        self._by_index: dict[int | str, PartialToolCall] = {}  # the latest call of each index
        self._places: dict[int, PartialToolCall] = {}  # the latest calls that started in one chunk without index

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
        *,
        place: int | None = None,
        is_start: bool = False,
    ) -> PartialToolCall:
        """Add a piece, except for its arguments, and return its call; the first id and name of a call are kept.

        ``place`` is that of a piece without index among several in one chunk. ``is_start``: an id that differs from
        that of the call at ``index`` starts another call.

        Raises:
            TooManyToolCalls: if the piece starts a call over the limit.
        """
        call = self._find_call_of(index, call_id, name, arguments, place)
        if call is not None and name:
            call_id, call.next_id = call_id or call.next_id, ""
        elif call is not None:
            call.next_id = call_id or "" if call.has_other_id(call_id) and not arguments else ""
        if call is None or (is_start and call.has_other_id(call_id)) or call.starts_another(call_id, name, arguments):
            call = self._start(call_type)
            if place is None:
                self._places.clear()
        if index is not None:
            self._by_index[index] = call
        if place is not None:
            self._places[place] = call
        call.identify(call_id, name)
        return call

    def _find_call_of(
        self, index: int | str | None, call_id: str | None, name: str | None, arguments: str | None, place: int | None
    ) -> PartialToolCall | None:
        """Return the call that a piece may continue."""
        call = None
        if index is not None or call_id or place is None:
            call = self.find(index, call_id)
            if call is not None or index is not None or name or not arguments:
                return call
        if place is not None:
            call = self._places.get(place)
        return call if call is not None or name or not self._calls else self._calls[-1]

    def _start(self, call_type: ToolCallType) -> PartialToolCall:
        if len(self._calls) >= MAX_TOOL_CALLS:
            raise TooManyToolCalls(
                f"the answer has more than {MAX_TOOL_CALLS} tool calls, a limit that cannot be raised"
            )
        call = PartialToolCall(len(self._calls), call_type)
        self._calls.append(call)
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
            if call.type == "function" and arguments.strip() and (problem := _json_problem(arguments)) is not None:
                name = scrub(call.name, limit=64) or "without a name"
                return f"the arguments of tool call {call.position + 1} ({name}) are not {problem}"
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
    """Return whether ``text`` is one JSON value, as msgspec or ``json.loads`` reads it.

    The latter accepts ``NaN`` and, not strict, control characters in strings. A byte order mark in front is ignored.
    """
    return _json_problem(text) is None


def _json_problem(text: str) -> str | None:
    """Return what ``text`` is not, and why, for a message; ``None`` if it is JSON."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except RecursionError:
        return "JSON: they are nested too deep"
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        if len(text) > _MAX_PYTHON_JSON:
            return f"JSON: {error}"
        return _python_json_problem(text)
    return None


def _python_json_problem(text: str) -> str | None:
    read = text.removeprefix(_BOM)
    try:
        json.loads(read, strict=False, parse_int=len, parse_float=len, object_pairs_hook=len)
    except json.JSONDecodeError as error:
        if error.pos >= len(read.rstrip()) or error.msg.startswith("Unterminated string"):
            return f"complete JSON: they end after {len(text)} characters"
        return f"JSON: {error.msg} at character {error.pos + len(text) - len(read) + 1} of {len(text)}"
    except RecursionError:
        return "JSON: they are nested too deep"
    return None
