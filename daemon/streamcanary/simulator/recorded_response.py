"""The record of a response of the simulator."""

from collections.abc import Mapping

from msgspec import Struct, field


class RecordedResponse(Struct, kw_only=True):
    """The head of the response to the request ``id``.

    ``status`` is ``None`` and ``headers`` (names in lower case) are empty until the head is sent, and stay so for
    faults that send no head, such as ``reset`` or ``no-headers``.
    """

    id: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def request_id(self) -> str | None:
        """The request id in the response head, which is where a client reads it."""
        return self.headers.get("x-request-id")
