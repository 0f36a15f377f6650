"""What the readers of the answers of both APIs have in common."""

from typing import Protocol

from streamcanary.client.core.answers.answer import Answer
from streamcanary.client.core.decoding.sse import ServerSentEvent
from streamcanary.events import Delta


class AnswerReader(Protocol):
    """Reads the answers of one API: ``ChatReader`` or ``ResponsesReader``."""

    answer: Answer
    is_done: bool
    ignored: list[bytes]
    """JSON that is not of this API, the first of it and the last seven."""
    progressed: bool
    """Whether the last event shows work of the provider without a token: a built-in tool's, an image's, audio."""

    def read_event(self, event: ServerSentEvent) -> list[Delta]:
        """Return the deltas that an event adds to the answer."""
        ...

    def read_body(self, body: bytes) -> list[Delta] | None:
        """Return the deltas of a complete JSON body, or ``None`` if it is no answer."""
        ...
