"""Cursors: opaque text that says where the next page begins."""

import base64
from contextlib import suppress
from typing import Final, TypeVar

import msgspec

MAX_LENGTH: Final = 512
"""Characters of a cursor, at most."""

_TEXT: Final = msgspec.msgpack.Decoder(tuple[str, str])
_NUMBER: Final = msgspec.msgpack.Decoder(tuple[str, int])
_P = TypeVar("_P", str, int)


def encode_cursor(pages: str, position: str | int) -> str:
    """Return the cursor of ``position`` in a kind of ``pages``."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode((pages, position))).decode().rstrip("=")


def decode_text_cursor(pages: str, cursor: str) -> str:
    """Return the position, a text.

    Raises:
        ValueError: if ``cursor`` is not one of these pages.
    """
    return _decode(pages, cursor, _TEXT)


def decode_number_cursor(pages: str, cursor: str) -> int:
    """Return the position, a number.

    Raises:
        ValueError: if ``cursor`` is not one of these pages.
    """
    return _decode(pages, cursor, _NUMBER)


def _decode(pages: str, cursor: str, decoder: msgspec.msgpack.Decoder[tuple[str, _P]]) -> _P:
    found = None
    if len(cursor) <= MAX_LENGTH:
        with suppress(ValueError, msgspec.DecodeError):  # binascii.Error is a ValueError
            content = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            found, position = decoder.decode(content)
    if found != pages:
        raise ValueError("cursor: is not valid here; take next of the page before, with the same other parameters")
    return position
