"""What a behaviour needs of the API that it is played on, so that it is written once for both."""

from typing import Any, Final, Literal, Protocol, Self, TypeVar

import msgspec
from msgspec import Struct

from streamcanary.simulator.api.answer import Answer

DELTAS_BEFORE_BREAK: Final = 3
"""Deltas before a stream breaks: text that a client may already have shown, of seven."""
_JSON_SLICES = 8
T = TypeVar("T")

StreamErrorKind = Literal["bare", "flat", "nested", "failed", "cancelled"]
"""How a server says, in the stream, that the answer will not be finished.

``bare`` is an event without a name that holds ``{"error": …}``; ``flat`` and ``nested`` are ``event: error``, with the
fields of the error beside the type or under ``error``; ``failed`` and ``cancelled`` are terminal states of Responses.
"""


class StreamedBody(Struct, frozen=True, kw_only=True):
    """A body in the pieces in which it is sent: the deltas, what comes before them and what after."""

    before_deltas: tuple[bytes, ...]
    deltas: tuple[bytes, ...] = ()
    after_deltas: tuple[bytes, ...] = ()

    @classmethod
    def for_response(cls, response: "ApiResponse") -> "StreamedBody":
        """Return what is sent: events if a stream was asked for, else slices of the JSON object."""
        if response.is_streamed:
            return response.streamed_body()
        whole = response.json_body()
        size = -(-len(whole) // _JSON_SLICES)
        first, *rest = (whole[start : start + size] for start in range(0, len(whole), size))
        return cls(before_deltas=(first,), deltas=tuple(rest))

    @property
    def until_break(self) -> tuple[bytes, ...]:
        """What is sent before a stream breaks."""
        return self.before_deltas + self.deltas[:DELTAS_BEFORE_BREAK]

    @property
    def broken_delta(self) -> bytes:
        """The delta in which a stream breaks."""
        return self.deltas[DELTAS_BEFORE_BREAK]

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """All of it."""
        return self.before_deltas + self.deltas + self.after_deltas


class ApiResponse(Protocol):
    """One answer to one request, spelled as the API spells it through which it was asked for.

    Events of the Responses API are numbered: ``sent`` is how many have gone before.
    """

    @property
    def model(self) -> str:
        """The model that was asked for."""
        ...

    @property
    def is_streamed(self) -> bool:
        """Whether a stream was asked for."""
        ...

    def with_answer(self, answer: Answer) -> Self:
        """Return another answer to the same request."""
        ...

    def streamed_body(self) -> StreamedBody:
        """Return the events of the stream."""
        ...

    def json_body(self) -> bytes:
        """Return the answer as one JSON object, as a request without ``stream`` gets it."""
        ...

    def empty_delta(self, sequence_number: int) -> bytes:
        """Return an event that adds no text to the text."""
        ...

    def error_event(self, kind: StreamErrorKind, error: dict[str, Any], sequence_number: int) -> bytes | None:
        """Return the event that says so, or the nearest that the API has; ``None`` if it has no word for it."""
        ...

    def json_error(self, kind: StreamErrorKind, error: dict[str, Any]) -> bytes | None:
        """Return what a request without ``stream`` gets in its place."""
        ...


def encode_event(data: dict[str, Any], name: str | None = None) -> bytes:
    """Return a server-sent event of ``data`` as JSON."""
    line = b"" if name is None else b"event: %b\n" % name.encode()
    return line + b"data: " + msgspec.json.encode(data) + b"\n\n"


def decode_request(body: bytes, request_type: type[T]) -> T:
    """Return the request that ``body`` spells.

    Raises:
        ValueError: if it spells none.
    """
    try:
        return msgspec.json.decode(body, type=request_type)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
