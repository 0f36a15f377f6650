"""Whether a success (2xx) comes from the receiver itself: a portal that wants a login answers 200, too."""

from collections.abc import Callable
from typing import NamedTuple

from streamcanary.alerting.notify.receivers.delivery_result import Accepted, DeliveryResult, Retry


class SuccessResponse(NamedTuple):
    """A success as the server put it: its status, content type, and beginning, scrubbed; ``None`` if that broke off."""

    status: int
    content_type: str
    text: str | None

    @property
    def is_web_page(self) -> bool:
        """Whether it is for people to look at."""
        return self.content_type.lower().startswith("text/html")


ResponseCheck = Callable[[SuccessResponse], DeliveryResult]
"""Says what a success is worth."""


def accept_any_success(response: SuccessResponse) -> DeliveryResult:
    """Take the status for the answer: whoever writes an endpoint of their own may answer in any form."""
    return Accepted()


def reject_web_page(response: SuccessResponse) -> DeliveryResult:
    """Take the status for the answer, unless a web page comes with it: an API has none to show."""
    return retry_for_web_page(response) if response.is_web_page else Accepted()


def retry_for_web_page(response: SuccessResponse) -> Retry:
    """Return the answer where something else has answered."""
    return Retry(
        reason=f"HTTP {response.status} with a web page: something in between has answered",
        is_definitely_undelivered=True,
    )
