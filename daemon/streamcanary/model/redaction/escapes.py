"""Decodes escaped text while keeping track of where each character came from."""

import re
from collections.abc import Iterator
from typing import NamedTuple

_MAX_ROUNDS = 3  # a value can be escaped again at each hop: %252D is %2D is -
_ESCAPE = re.compile(
    r"%([0-9A-Fa-f]{2})|\\u([0-9A-Fa-f]{4})|\\x([0-9A-Fa-f]{2})|&#[xX]([0-9A-Fa-f]{1,6});|&#([0-9]{1,7});"
    r"|\\([\"'\\/])|&(amp|quot|apos|lt|gt);"
)
_INCOMPLETE_ESCAPE = re.compile(r"(?:%[0-9A-Fa-f]?|\\(?:u[0-9A-Fa-f]{0,3}|x[0-9A-Fa-f]?)?|&(?:#?[0-9A-Za-z]{0,7})?)\Z")
_ENTITIES = {"amp": "&", "quot": '"', "apos": "'", "lt": "<", "gt": ">"}
_ESCAPE_SIGNS = re.compile(r"[%\\&]")


class View(NamedTuple):
    """Text after some rounds of decoding. ``offsets[i]`` is where ``text[i]`` starts in the original text.

    ``offsets`` has one more element, the end of the original text; it is ``None`` if nothing was decoded.
    """

    text: str
    offsets: list[int] | None = None

    def source(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original text that ``text[start:end]`` was decoded from."""
        return (start, end) if self.offsets is None else (self.offsets[start], self.offsets[end])


def decoded_views(text: str) -> Iterator[View]:
    """Yield ``text`` as it is, and after each round of decoding that changes it, at most three.

    Decodes percent-encoding, the escapes of JSON, and the character references of HTML. Percent-encoded octets become
    the characters of Latin-1: a caller that searches for other characters searches for their octets in UTF-8.
    """
    view = View(text)
    yield view
    for _ in range(_MAX_ROUNDS):
        if not _ESCAPE_SIGNS.search(view.text) or (decoded := _decode(view)) is None:
            return
        view = decoded
        yield view


def incomplete_escape_start(text: str) -> int:
    """Return where an escape starts that ``text`` ends in the middle of; the length of ``text`` if there is none."""
    found = _INCOMPLETE_ESCAPE.search(text, max(0, len(text) - 10))
    return found.start() if found else len(text)


def _decode(view: View) -> View | None:
    pieces: list[str] = []
    starts: list[int] = []
    position = 0
    for match in _ESCAPE.finditer(view.text):
        pieces += (view.text[position : match.start()], _decode_escape(match))
        starts += range(position, match.start() + 1)  # an escape is one character, which starts at the match
        position = match.end()
    if not pieces:
        return None
    pieces.append(view.text[position:])
    starts += range(position, len(view.text) + 1)
    if view.offsets is not None:
        starts = [view.offsets[start] for start in starts]
    return View("".join(pieces), starts)


def _decode_escape(match: re.Match[str]) -> str:
    kind, value = match.lastindex or 0, match[match.lastindex or 0]
    if kind <= 4:
        code = int(value, 16)
    elif kind == 5:
        code = int(value)
    else:
        return _ENTITIES.get(value, value)
    return chr(code) if code <= 0x10FFFF else "\ufffd"
