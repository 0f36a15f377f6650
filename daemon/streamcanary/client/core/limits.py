"""How much of an answer the client is willing to hold."""

from typing import Final

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds on what one attempt may send: bytes of a line and of an event, characters of an answer, events in all."""

    max_line_bytes: int = 1 << 20
    max_event_bytes: int = 4 << 20
    max_answer_characters: int = 8 << 20
    max_events: int = 500_000


DEFAULT_LIMITS: Final = Limits()
"""Far above any real answer, far below what hurts a process."""
