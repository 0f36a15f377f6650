"""Limits on the size of an answer. Does not import ``openai``, so that configuration loads fast."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

_BYTES_PER_CHARACTER = 4  # of UTF-8, at most
_UNITS = {
    "max_answer_characters": "characters",
    "max_line_bytes": "bytes",
    "max_event_bytes": "bytes",
    "max_events": "events",
}
_Size = Annotated[int, Field(ge=1, le=1 << 30)]


class Limits(BaseModel):
    """How much of an answer the client accepts; more is the fault ``answer_too_long``, which is not retried.

    ``max_answer_characters`` limits text, reasoning, refusal and tool arguments together. ``max_event_bytes`` limits
    one event of the stream, or an answer that is one JSON body: the base64 data of an image or of audio arrives in one.
    Its default is four bytes for each character of the answer, 16 MiB, which is an image of 12 MB. ``max_line_bytes``
    limits a line of the event stream; its default is ``max_event_bytes``. ``max_events`` limits the number of events.

    The defaults are far above any ordinary answer. While a call reads an event, it holds a few copies of it in memory.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_answer_characters: _Size = 4 << 20
    max_event_bytes: _Size | None = None
    max_line_bytes: _Size | None = None
    max_events: _Size = 500_000

    @property
    def event_bytes(self) -> int:
        """The largest event or JSON body, in bytes."""
        return self.max_event_bytes or _BYTES_PER_CHARACTER * self.max_answer_characters

    @property
    def line_bytes(self) -> int:
        """The longest line of an event stream, in bytes."""
        return self.max_line_bytes or self.event_bytes

    def excess(
        self,
        name: Literal["max_answer_characters", "max_event_bytes", "max_line_bytes", "max_events"],
        what: str,
    ) -> str:
        """Return the message that ``what`` exceeds the limit ``name``: its value, and how to raise it."""
        value = {"max_event_bytes": self.event_bytes, "max_line_bytes": self.line_bytes}.get(name, getattr(self, name))
        return f"{what} has more than {value} {_UNITS[name]}; if it is expected, raise {name} in limits"


DEFAULT_LIMITS: Final = Limits()
"""The limits of a client without ``limits=``."""
