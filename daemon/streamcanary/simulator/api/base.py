"""What a behaviour needs of the API that it is played on, so that it is written once for both."""

from typing import Any, Final, Literal, Protocol, Self, TypeVar

import msgspec
from msgspec import Struct

from streamcanary.simulator.api.answer import Answer

FEW: Final = 3
"""Deltas before a stream breaks: text that a client may already have shown, of seven."""
_SLICES = 8
T = TypeVar("T")

Break = Literal["bare", "flat", "nested", "failed", "cancelled"]
"""How a server says, in the stream, that the answer will not be finished.

``bare`` is an event without a name that holds ``{"error": …}``; ``flat`` and ``nested`` are ``event: error``, with the
fields of the error beside the type or under ``error``; ``failed`` and ``cancelled`` are terminal states of Responses.
"""


class Script(Struct, frozen=True, kw_only=True):
    """A body in the pieces in which it is sent: the deltas, what comes before them and what after."""

    opening: tuple[bytes, ...]
    deltas: tuple[bytes, ...] = ()
    closing: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, dialect: "Dialect") -> "Script":
        """Return what is sent: events if a stream was asked for, else slices of the JSON object."""
        if dialect.streamed:
            return dialect.script()
        whole = dialect.whole()
        size = -(-len(whole) // _SLICES)
        first, *rest = (whole[start : start + size] for start in range(0, len(whole), size))
        return cls(opening=(first,), deltas=tuple(rest))

    @property
    def few(self) -> tuple[bytes, ...]:
        """What is sent before a stream breaks."""
        return self.opening + self.deltas[:FEW]

    @property
    def broken(self) -> bytes:
        """The delta in which a stream breaks."""
        return self.deltas[FEW]

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """All of it."""
        return self.opening + self.deltas + self.closing


class Dialect(Protocol):
    """One answer to one request, spelled as the API spells it through which it was asked for.

    Events of the Responses API are numbered: ``sent`` is how many have gone before.
    """

    @property
    def model(self) -> str:
        """The model that was asked for."""
        ...

    @property
    def streamed(self) -> bool:
        """Whether a stream was asked for."""
        ...

    def saying(self, answer: Answer) -> Self:
        """Return another answer to the same request."""
        ...

    def script(self) -> Script:
        """Return the events of the stream."""
        ...

    def whole(self) -> bytes:
        """Return the answer as one JSON object, as a request without ``stream`` gets it."""
        ...

    def empty_delta(self, sent: int) -> bytes:
        """Return an event that adds no text to the text."""
        ...

    def break_off(self, how: Break, error: dict[str, Any], sent: int) -> bytes | None:
        """Return the event that says so, or the nearest that the API has; ``None`` if it has no word for it."""
        ...

    def broken(self, how: Break, error: dict[str, Any]) -> bytes | None:
        """Return what a request without ``stream`` gets in its place."""
        ...


def event(data: dict[str, Any], name: str | None = None) -> bytes:
    """Return a server-sent event of ``data`` as JSON."""
    line = b"" if name is None else b"event: %b\n" % name.encode()
    return line + b"data: " + msgspec.json.encode(data) + b"\n\n"


def decode(body: bytes, kind: type[T]) -> T:
    """Return the request that ``body`` spells.

    Raises:
        ValueError: if it spells none.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
