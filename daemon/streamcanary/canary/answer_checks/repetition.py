"""Detects degenerate text: one character, word or phrase repeated to the end.

Models repeat themselves endlessly when their numerics break (a wrong quantization, a damaged cache, not-a-number
activations): the stream is complete and the status is 200, but the text is ``////////…`` or ``the the the the …``.
"""

import re
from typing import Final

_MAX_TAIL: Final = 4096  # characters at the end of a text that are examined
_MAX_UNIT: Final = 500  # characters of the repeated unit
_MIN_REPETITIONS: Final = 8
_MIN_WHOLE: Final = 48  # characters, if the whole text is one repetition; longer than laughter and rulers
_MIN_MOST: Final = 64  # characters, if most of the text is
_MIN_LOOP: Final = 400  # characters, after text that does not repeat; longer than a row of a table or a ruler
_NUMBER: Final = re.compile(r"[0-9]+|[0-9A-F]+")  # a unit of digits: a power of ten or a periodic fraction is no loop
_CLOSING: Final = " \"'`*.!?\ufffd"  # what can follow a loop that was cut: a quote, a fence, half a character
_MAX_SHOWN_UNIT: Final = 20


def repeated_unit(text: str) -> str | None:
    """Return the unit that ``text`` repeats to its end, at most 500 characters; ``None`` if it is not degenerate.

    White space is normalized, and closing punctuation may follow. The repetition must have at least eight units, and be
    the whole text and 48 characters long, three quarters of it and 64, or any part and 400; a repetition of digits is
    always 400 characters long. Takes linear time: only the last 4,096 characters are examined.
    """
    normalized = " ".join(text[-4 * _MAX_TAIL :].split())
    return _repeated_end(normalized) or _repeated_end(normalized.rstrip(_CLOSING))


def _repeated_end(text: str) -> str | None:
    tail = text[-_MAX_TAIL:]
    length, period = _longest_repetition(tail[::-1])
    if not length:
        return None
    unit = tail[len(tail) - length :][:period]
    share = length / len(text) if length < len(tail) else 1.0
    is_most = share >= 0.75 and length >= (_MIN_WHOLE if share == 1.0 else _MIN_MOST)
    return unit.strip() if length >= _MIN_LOOP or (is_most and not _NUMBER.fullmatch(unit)) else None


def describe_repetition(unit: str) -> str:
    """Return a phrase for a message: ``repeats '/' to its end``."""
    shown = unit if len(unit) <= _MAX_SHOWN_UNIT else f"{unit[:_MAX_SHOWN_UNIT]}…"
    return f"repeats {shown!r} to its end"


def _longest_repetition(text: str) -> tuple[int, int]:
    """Return the length of the longest prefix of ``text`` that repeats a short unit, and the length of the unit.

    The unit can be cut at the end of the prefix. ``(0, 0)`` if no prefix has enough repetitions. Uses the prefix
    function of Knuth, Morris and Pratt (SIAM J. Comput. 6, 1977): a prefix of length n has the smallest period
    n - border(n).
    """
    borders = [0] * len(text)
    border = best_length = best_period = 0
    for position in range(1, len(text)):
        while border and text[position] != text[border]:
            border = borders[border - 1]
        if text[position] == text[border]:
            border += 1
        borders[position] = border
        length, period = position + 1, position + 1 - border
        if period <= _MAX_UNIT and length >= _MIN_REPETITIONS * period:
            best_length, best_period = length, period
    return best_length, best_period
