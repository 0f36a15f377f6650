"""What a receiver says to a delivery."""

from msgspec import Struct


class Accepted(Struct, frozen=True, tag=True):
    """It has it."""


class Retry(Struct, frozen=True, tag=True, kw_only=True):
    """Not now: try again.

    ``after`` is in seconds, as the server asked. ``definite`` tells that it was certainly not taken (429), where a
    timeout or a 5xx leaves that open.
    """

    reason: str
    retry_after: float | None = None
    is_definitely_undelivered: bool = False


class Refused(Struct, frozen=True, tag=True):
    """Not now and not later: the same again would be refused again."""

    reason: str


DeliveryResult = Accepted | Retry | Refused
