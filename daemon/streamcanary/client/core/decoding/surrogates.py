r"""Joins surrogate pairs that a server splits between two pieces of text.

Servers that escape characters beyond the Basic Multilingual Plane as two UTF-16 code units, and cut their output
between the two, send ``"\ud83d"`` in one chunk and ``"\ude00"`` in the next. Half a pair cannot be encoded as UTF-8.
"""

import re

_ESCAPE = re.compile(  # every escape, so that an escaped backslash is not taken for the start of another one
    r"\\(?:(?P<pair>u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


class SurrogateJoiner:
    """Text in pieces, without halves of surrogate pairs. ``held`` is the half at the end of the last piece, if any."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = ""

    def join(self, piece: str) -> str:
        """Return ``piece`` with the held half before it, and hold a half at its end; other halves become U+FFFD."""
        if self.held:
            piece, self.held = self.held + piece, ""
        elif is_valid(piece):
            return piece
        if "\ud800" <= piece[-1] <= "\udbff":
            piece, self.held = piece[:-1], piece[-1]
        return replace_halves(piece)

    def flush(self) -> str:
        """Return U+FFFD if a half is held, whose other half did not arrive; else nothing."""
        held, self.held = self.held, ""
        return "\ufffd" if held else ""


def is_valid(text: str) -> bool:
    """Return whether ``text`` has no surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def replace_halves(text: str) -> str:
    """Return ``text`` with pairs of surrogates as one character, and single ones as U+FFFD."""
    return text if is_valid(text) else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def replace_escaped_halves(json_text: str) -> str:
    """Return JSON whose escaped single surrogates are U+FFFD."""
    return _ESCAPE.sub(lambda escape: r"\ufffd" if escape["half"] else escape[0], json_text)
