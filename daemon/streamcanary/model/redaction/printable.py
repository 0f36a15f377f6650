"""Makes untrusted text printable."""

import re

_CONTROL_CHARACTERS = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029"  # line ends and terminal control characters
_INVISIBLE_CHARACTERS = (  # direction overrides, and invisible tags
    r"\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)
_CONTROL = re.compile(rf"[{_CONTROL_CHARACTERS}{_INVISIBLE_CHARACTERS}\t\n]+")
_CONTROL_EXCEPT_LINES = re.compile(rf"[{_CONTROL_CHARACTERS}{_INVISIBLE_CHARACTERS}]+")

_ZERO_WIDTH = re.compile(r"[\u00ad\u180e\u200b\u2060\ufeff]|(?<=[!-~])[\u200c\u200d]+(?=[!-~])")
"""Characters without width; joiners only between ASCII characters, since scripts and emoji need them."""


def without_zero_width(text: str) -> str:
    """Return ``text`` without the characters that nobody sees between those of a key."""
    return text if text.isascii() else _ZERO_WIDTH.sub("", text)


def printable(text: str, limit: int = 500, *, lines: bool = False) -> str:
    """Return ``text`` as one line of at most ``limit`` characters.

    Replaces line breaks, control characters and direction overrides with a space, so that untrusted text cannot imitate
    another line. With ``lines``, for text that stands alone, newlines and tabs stay. A lone surrogate, which UTF-8
    cannot encode, becomes a question mark.
    """
    control = _CONTROL_EXCEPT_LINES if lines else _CONTROL
    text = control.sub(" ", text).encode("utf-8", "replace").decode().strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"
