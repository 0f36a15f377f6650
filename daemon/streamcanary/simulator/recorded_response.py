"""What the simulator remembers of its own answer to a request."""

from collections.abc import Mapping

from msgspec import Struct, field


class RecordedResponse(Struct, kw_only=True):
    """What went out for the request ``id``, as far as the head of the answer.

    ``status`` is ``None`` and ``headers`` (names in lower case) are empty as long as no head has gone out; it stays so
    when there never is one, as in ``reset`` or ``no-headers``.
    """

    id: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def request_id(self) -> str | None:
        """The id as a client could learn it: from the head."""
        return self.headers.get("x-request-id")
