"""Checks whether a 2xx response is from the receiver itself: a captive portal also answers 200."""

from collections.abc import Callable
from typing import NamedTuple

from streamcanary.alerting.notify.delivery.result import Accepted, DeliveryResult, Retry


class SuccessResponse(NamedTuple):
    """A 2xx response: status, content type and the beginning of the body, scrubbed.

    ``text`` is ``None`` if the connection was lost while the body was read.
    """

    status: int
    content_type: str
    text: str | None

    @property
    def is_web_page(self) -> bool:
        """Whether the content type is HTML."""
        return self.content_type.lower().startswith("text/html")


ResponseCheck = Callable[[SuccessResponse], DeliveryResult]
"""Returns the result of a delivery with a 2xx response."""


def accept_any_success(response: SuccessResponse) -> DeliveryResult:
    """Accept any 2xx response: a user's endpoint may respond in any form."""
    return Accepted()


def reject_web_page(response: SuccessResponse) -> DeliveryResult:
    """Accept a 2xx response unless it is a web page, which an API does not send."""
    return retry_for_web_page(response) if response.is_web_page else Accepted()


def retry_for_web_page(response: SuccessResponse) -> Retry:
    """Return the result of a delivery that another server answered with a web page."""
    return Retry(
        reason=f"HTTP {response.status} with a web page: a proxy or portal answered instead of the receiver",
        is_definitely_undelivered=True,
    )
