"""The interface between behaviours and APIs, so that a behaviour is defined once for both APIs."""

from typing import Any, Final, Literal, Protocol, Self, TypeVar

import msgspec
from msgspec import Struct

from streamcanary.simulator.api.answer import Answer

DELTAS_BEFORE_BREAK: Final = 3
"""Deltas before a stream breaks, of seven: text that a client may already have displayed."""
_JSON_SLICES = 8
T = TypeVar("T")

StreamErrorKind = Literal["bare", "field", "flat", "nested", "failed", "cancelled"]
"""How a server reports in the stream that the answer will not be completed.

``bare`` is an event without a name that holds ``{"error": …}``; ``field`` is a field of its own, ``error: {…}``, as of
llama.cpp; ``flat`` and ``nested`` are ``event: error``, with the
fields of the error beside the type or under ``error``; ``failed`` and ``cancelled`` are terminal states of Responses.
"""


class StreamedBody(Struct, frozen=True, kw_only=True):
    """A body in the pieces in which it is sent: the deltas, and the pieces before and after them."""

    before_deltas: tuple[bytes, ...]
    deltas: tuple[bytes, ...] = ()
    after_deltas: tuple[bytes, ...] = ()

    @classmethod
    def for_response(cls, response: "ApiResponse") -> "StreamedBody":
        """Return the pieces of ``response``: events if it is streamed, else slices of the JSON object."""
        if response.is_streamed:
            return response.streamed_body()
        whole = response.json_body()
        size = -(-len(whole) // _JSON_SLICES)
        first, *rest = (whole[start : start + size] for start in range(0, len(whole), size))
        return cls(before_deltas=(first,), deltas=tuple(rest))

    @property
    def until_break(self) -> tuple[bytes, ...]:
        """The pieces that are sent before a stream breaks."""
        return self.before_deltas + self.deltas[:DELTAS_BEFORE_BREAK]

    @property
    def broken_delta(self) -> bytes:
        """The delta in which a stream breaks."""
        return self.deltas[DELTAS_BEFORE_BREAK]

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """All pieces."""
        return self.before_deltas + self.deltas + self.after_deltas


class ApiResponse(Protocol):
    """One response to one request, in the format of its API.

    Events of the Responses API are numbered: ``sequence_number`` is the number of events sent before.
    """

    @property
    def model(self) -> str:
        """The model of the request."""
        ...

    @property
    def is_streamed(self) -> bool:
        """Whether the request asks for a stream."""
        ...

    def with_answer(self, answer: Answer) -> Self:
        """Return a response with another answer to the same request."""
        ...

    def with_model(self, model: str) -> Self:
        """Return a response in which another model answers."""
        ...

    def streamed_body(self) -> StreamedBody:
        """Return the events of the stream."""
        ...

    def json_body(self) -> bytes:
        """Return the answer as one JSON object, as a request without ``stream`` gets it."""
        ...

    def empty_delta(self, sequence_number: int) -> bytes:
        """Return an event with an empty text delta."""
        ...

    def error_event(self, kind: StreamErrorKind, error: dict[str, Any], sequence_number: int) -> bytes | None:
        """Return the event for ``error``, or the nearest one of the API; ``None`` if it has none."""
        ...

    def json_error(self, kind: StreamErrorKind, error: dict[str, Any]) -> bytes | None:
        """Return the body for ``error`` that a request without ``stream`` gets."""
        ...


def encode_event(data: dict[str, Any], name: str | None = None) -> bytes:
    """Return a server-sent event of ``data`` as JSON."""
    line = b"" if name is None else b"event: %b\n" % name.encode()
    return line + b"data: " + msgspec.json.encode(data) + b"\n\n"


def encode_error_field(error: dict[str, Any]) -> bytes:
    """Return the field ``error``, which is not one of server-sent events, with ``error`` as JSON."""
    return b"error: " + msgspec.json.encode(error) + b"\n\n"


def decode_request(body: bytes, request_type: type[T]) -> T:
    """Decode the request in ``body``.

    Raises:
        ValueError: if it is not a valid request.
    """
    try:
        return msgspec.json.decode(body, type=request_type)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
