"""Limits on the size of an answer."""

from typing import Final

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """Limits of one attempt: bytes of a line and of an event, characters of the answer, number of events."""

    max_line_bytes: int = 1 << 20
    max_event_bytes: int = 4 << 20
    max_answer_characters: int = 8 << 20
    max_events: int = 500_000


DEFAULT_LIMITS: Final = Limits()
"""Far above any real answer, far below what exhausts the memory of a process."""
