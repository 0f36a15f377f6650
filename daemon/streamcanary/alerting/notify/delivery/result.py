"""The results of a delivery."""

from msgspec import Struct


class Accepted(Struct, frozen=True, tag=True):
    """The receiver accepted the delivery."""


class Retry(Struct, frozen=True, tag=True, kw_only=True):
    """The delivery failed and is to be retried.

    ``retry_after`` is the delay that the server asked for, in seconds. ``is_definitely_undelivered`` is true if the
    receiver certainly has not accepted it (429); after a timeout or a 5xx it may have.
    """

    reason: str
    retry_after: float | None = None
    is_definitely_undelivered: bool = False


class Refused(Struct, frozen=True, tag=True):
    """The receiver refused the delivery; a retry would be refused as well."""

    reason: str


DeliveryResult = Accepted | Retry | Refused
