"""Status and headers of an HTTP response, as the state machine of an attempt takes them."""

from collections.abc import Mapping

from msgspec import Struct


class ResponseHead(Struct, frozen=True):
    """Status and headers of an HTTP response; ``url`` is the redacted URL that answered.

    ``error_body`` is the body of an error response: the value of its JSON, or text. ``refusal`` says why the body of
    another response is not read.
    """

    status: int
    headers: Mapping[str, str]
    url: str = ""
    error_body: object = None
    refusal: str = ""
