"""What the model says, whichever API it is asked through."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

ANSWER_PIECES: Final = ("Pong", "!", " The", " can", "ary", " sings", ".")
"""The text of every good answer, as it is cut into pieces: "Pong! The canary sings."."""
TOOL_CALL_ID_PREFIX: Final = "call_simulator00000000000"
"""What the id of every tool call begins with; its number follows."""


class PartKind(StrEnum):
    """What a part of an answer is."""

    TEXT = "text"
    REFUSAL = "refusal"
    TOOL_CALL = "call"
    """The arguments of a tool call."""
    REASONING_SUMMARY = "summary"
    """A summary of the reasoning, as OpenAI shows it; to Chat Completions, ``reasoning_content``."""
    REASONING = "reasoning"
    """The reasoning itself, as servers of open models show it; to Chat Completions, ``reasoning``."""

    @property
    def is_reasoning(self) -> bool:
        """Whether it is reasoning, summed up or not."""
        return self in (PartKind.REASONING_SUMMARY, PartKind.REASONING)


class Part(Struct, frozen=True):
    """One part of an answer, in the pieces in which it is streamed; ``name`` is that of the tool that is called."""

    kind: PartKind
    pieces: tuple[str, ...]
    name: str = ""

    @property
    def text(self) -> str:
        """The pieces put together."""
        return "".join(self.pieces)


class Answer(Struct, frozen=True, kw_only=True):
    """The parts of an answer and why it ends, in the words of Chat Completions; ``done`` is whether ``[DONE]`` follows.

    Without a ``finish_reason`` the answer is whole and does not say so.
    """

    parts: tuple[Part, ...] = ()
    finish_reason: str | None = "stop"
    has_done_marker: bool = True

    @property
    def tokens(self) -> int:
        """How many tokens it has: a piece counts as one."""
        return sum(len(part.pieces) for part in self.parts)

    @property
    def reasoning_tokens(self) -> int:
        """How many of them are reasoning."""
        return sum(len(part.pieces) for part in self.parts if part.kind.is_reasoning)


def text_answer(*pieces: str, finish_reason: str | None = "stop", has_done_marker: bool = True) -> Answer:
    """Return an answer that says ``pieces``."""
    return Answer(parts=(Part(PartKind.TEXT, pieces),), finish_reason=finish_reason, has_done_marker=has_done_marker)


def count_tokens(messages: Iterable[Mapping[str, Any]]) -> int:
    """Estimate the tokens of a prompt as its tokenizer would: about four characters each, and a few a message."""
    return 3 + sum(4 + _text_length(message.get("content")) // 4 for message in messages)


def _text_length(content: object) -> int:
    """Return the number of characters of a message: it is text, or a list of parts of which some have text."""
    if isinstance(content, list):
        return sum(_text_length(part.get("text")) for part in content if isinstance(part, dict))
    return len(content) if isinstance(content, str) else 0
