"""Whether a success (2xx) comes from the receiver itself: a portal that wants a login answers 200, too."""

from collections.abc import Callable
from typing import NamedTuple

from streamcanary.alerting.notify.receivers.delivery_result import Accepted, Answer, Retry


class Said(NamedTuple):
    """A success as the server put it: its status, content type, and beginning, scrubbed; ``None`` if that broke off."""

    status: int
    kind: str
    text: str | None

    @property
    def is_web_page(self) -> bool:
        """Whether it is for people to look at."""
        return self.kind.lower().startswith("text/html")


Consent = Callable[[Said], Answer]
"""Says what a success is worth."""


def any_success(said: Said) -> Answer:
    """Take the status for the answer: whoever writes an endpoint of their own may answer in any form."""
    return Accepted()


def no_web_page(said: Said) -> Answer:
    """Take the status for the answer, unless a web page comes with it: an API has none to show."""
    return web_page(said) if said.is_web_page else Accepted()


def web_page(said: Said) -> Retry:
    """Return the answer where something else has answered."""
    return Retry(reason=f"HTTP {said.status} with a web page: something in between has answered", definite=True)
