"""How much of an answer the client is willing to hold."""

from typing import Final

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds on what one attempt may send: bytes of a line and of an event, characters of an answer, events in all."""

    line: int = 1 << 20
    event: int = 4 << 20
    answer: int = 8 << 20
    events: int = 500_000


LIMITS: Final = Limits()
"""Far above any real answer, far below what hurts a process."""
