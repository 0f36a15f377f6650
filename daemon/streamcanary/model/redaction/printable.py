"""Makes untrusted text printable."""

import re

_CONTROL_CHARACTERS = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029"  # line ends and terminal control characters
_INVISIBLE_CHARACTERS = (  # direction overrides, and invisible tags
    r"\u061c\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)
_CONTROL = re.compile(rf"[{_CONTROL_CHARACTERS}{_INVISIBLE_CHARACTERS}\t\n]+")
_CONTROL_EXCEPT_LINES = re.compile(rf"[{_CONTROL_CHARACTERS}{_INVISIBLE_CHARACTERS}]+")


def printable(text: str, limit: int = 500, *, lines: bool = False) -> str:
    """Return ``text`` as one line of at most ``limit`` characters.

    Replaces line breaks, control characters and direction overrides with a space, so that untrusted text cannot imitate
    another line. With ``lines``, for text that stands alone, newlines and tabs stay. A lone surrogate, which UTF-8
    cannot encode, becomes a question mark.
    """
    control = _CONTROL_EXCEPT_LINES if lines else _CONTROL
    text = control.sub(" ", text).encode("utf-8", "replace").decode().strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"
