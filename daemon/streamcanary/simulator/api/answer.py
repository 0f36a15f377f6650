"""The answer of the model, independent of the API."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

ANSWER_PIECES: Final = ("Pong", "!", " The", " can", "ary", " sings", ".")
"""The text of every complete answer, split into pieces: "Pong! The canary sings."."""
TOOL_CALL_ID_PREFIX: Final = "call_simulator00000000000"
"""The prefix of the id of every tool call; the number of the call follows."""


class PartKind(StrEnum):
    """The kind of a part of an answer."""

    TEXT = "text"
    REFUSAL = "refusal"
    TOOL_CALL = "call"
    """The arguments of a tool call."""
    REASONING_SUMMARY = "summary"
    """A summary of the reasoning, as OpenAI sends it; in Chat Completions, ``reasoning_content``."""
    REASONING = "reasoning"
    """The reasoning itself, as servers of open models send it; in Chat Completions, ``reasoning``."""

    @property
    def is_reasoning(self) -> bool:
        """Whether it is reasoning or a summary of it."""
        return self in (PartKind.REASONING_SUMMARY, PartKind.REASONING)


class Part(Struct, frozen=True):
    """One part of an answer, in the pieces in which it is streamed; ``name`` is the name of a called tool."""

    kind: PartKind
    pieces: tuple[str, ...]
    name: str = ""

    @property
    def text(self) -> str:
        """The joined pieces."""
        return "".join(self.pieces)


class Answer(Struct, frozen=True, kw_only=True):
    """The parts of an answer and its ``finish_reason``, with the values of Chat Completions.

    Without a ``finish_reason`` the answer is complete but has no end marker. ``has_done_marker`` is whether ``[DONE]``
    follows.
    """

    parts: tuple[Part, ...] = ()
    finish_reason: str | None = "stop"
    has_done_marker: bool = True

    @property
    def tokens(self) -> int:
        """The number of tokens: each piece counts as one."""
        return sum(len(part.pieces) for part in self.parts)

    @property
    def reasoning_tokens(self) -> int:
        """The number of reasoning tokens among them."""
        return sum(len(part.pieces) for part in self.parts if part.kind.is_reasoning)


def text_answer(*pieces: str, finish_reason: str | None = "stop", has_done_marker: bool = True) -> Answer:
    """Return an answer with the text ``pieces``."""
    return Answer(parts=(Part(PartKind.TEXT, pieces),), finish_reason=finish_reason, has_done_marker=has_done_marker)


def count_tokens(messages: Iterable[Mapping[str, Any]]) -> int:
    """Estimate the tokens of a prompt: about four characters per token, and a few tokens per message."""
    return 3 + sum(4 + _text_length(message.get("content")) // 4 for message in messages)


def _text_length(content: object) -> int:
    """Return the number of characters of a message content: a text, or a list of parts some of which have text."""
    if isinstance(content, list):
        return sum(_text_length(part.get("text")) for part in content if isinstance(part, dict))
    return len(content) if isinstance(content, str) else 0
