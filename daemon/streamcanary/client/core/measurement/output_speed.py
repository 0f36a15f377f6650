"""Measures how fast an answer was generated after its first token, in tokens a second.

The tokens are those that the provider reports, without hidden reasoning, which came before the first token. Counts that
do not fit what was received are not used: fewer than a token per 16 bytes, or more than twice the estimate (hidden
reasoning that is not reported as such, or a wrong count). Then, and without a report, the tokens are estimated: one for
each delta, at least one for four bytes of UTF-8.

What arrived together with the first token does not count: of the tokens, the part counts that the later characters are
of all characters.
"""

from collections.abc import Iterable
from typing import Final

from streamcanary.client.core.answers.answer import Answer
from streamcanary.client.core.measurement import MIN_SPEED_TOKENS
from streamcanary.model.outcome import OutputSpeed, Usage

MAX_SPEED: Final = 5000.0
"""Tokens a second that no server reaches: an answer that is faster was held back on its way, and came at once."""

_BYTES_PER_TOKEN: Final = 4
_MAX_BYTES_PER_TOKEN: Final = 16
_MAX_FACTOR: Final = 2  # of a plausible count to the estimate
_SLACK: Final = 16  # tokens that are no text: of the end, of tool calls and of the format of the chat


def measure_output_speed(answer: Answer, *, first_characters: int, deltas: int, seconds: float) -> OutputSpeed | None:
    """Return the speed of a complete answer, ``None`` if it cannot be measured.

    ``first_characters`` came with the first of the ``deltas``; the last came ``seconds`` later.
    """
    characters = answer.size
    if seconds <= 0 or first_characters >= characters:
        return None
    size = _utf8_size(answer.text) + _utf8_size(answer.reasoning) + _utf8_size(answer.refusal)
    size += sum(_utf8_size((call.arguments,)) for call in answer.tool_calls)
    estimate = max(deltas, -(-size // _BYTES_PER_TOKEN))
    reported = _visible_tokens(answer.usage, has_visible_reasoning=bool(answer.reasoning))
    is_plausible = reported is not None and size / _MAX_BYTES_PER_TOKEN <= reported <= _MAX_FACTOR * estimate + _SLACK
    tokens = reported if reported is not None and is_plausible else estimate
    later_tokens = tokens * (characters - first_characters) / characters
    speed = later_tokens / seconds
    if later_tokens < MIN_SPEED_TOKENS or speed > MAX_SPEED:
        return None
    return OutputSpeed(tokens_per_second=speed, seconds=seconds, is_estimated=not is_plausible)


def _visible_tokens(usage: Usage | None, *, has_visible_reasoning: bool) -> int | None:
    """Return the reported tokens of what was streamed."""
    if usage is None:
        return None
    return usage.output_tokens - (0 if has_visible_reasoning else usage.reasoning_tokens)


def _utf8_size(pieces: Iterable[str]) -> int:
    return sum(len(piece) if piece.isascii() else len(piece.encode("utf-8", "replace")) for piece in pieces)
