"""A body whose content type is not that of an event stream: JSON, an error, a page, or an event stream all the same.

Servers and proxies forget the content type of their streams, or send ``text/plain`` or ``application/json``. The SDK
reads such a stream, so the client does, too. The first event decides: its ``data`` has to be a JSON object or list. A
body that is HTML by its type is never a stream.
"""

from streamcanary.client.core.decoding.sse import ServerSentEvent, SseDecoder
from streamcanary.client.core.limits import Limits

_MAX_OTHER_BYTES = 64 << 10  # of a body that is not JSON by its type: enough for an error
_BOM = b"\xef\xbb\xbf"
_MAX_INDENT = 64  # bytes of white space before a page
_STREAM_STARTS = b":deir\r\n\xef"  # comment, data, event, id, retry, empty line, byte order mark
_HTML = frozenset({"text/html", "application/xhtml+xml"})


def media_type_of(content_type: str) -> str:
    """Return the media type without parameters; every JSON type, such as ``application/problem+json``, is one."""
    media_type = content_type.partition(";")[0].strip().lower()
    return "application/json" if media_type.endswith(("/json", "+json")) else media_type


class UnmarkedBody:
    """The body of a response with ``status`` and ``media_type``: it is fed to ``sse`` while it may be an event stream.

    ``data`` is the body as far as it has arrived, up to its limit; ``is_full``: it exceeds the limit. ``is_markup``: it
    begins as HTML or XML does. ``is_event_stream`` is ``None`` while that is undecided.
    """

    def __init__(self, status: int, media_type: str, sse: SseDecoder, limits: Limits) -> None:
        self._head = f"status {status} and {media_type[:100] or 'no content type'}"
        self.is_json = media_type == "application/json"
        self.is_event_stream: bool | None = False if media_type in _HTML else None
        self.is_full = self.is_markup = False
        self.data = bytearray()
        self._sse = sse
        self._max_bytes = limits.event_bytes if self.is_json else _MAX_OTHER_BYTES

    @property
    def content(self) -> bytes:
        """The body without a byte order mark."""
        return bytes(self.data).removeprefix(_BOM)

    @property
    def is_page(self) -> bool:
        """Whether it is neither an event stream nor JSON by its type."""
        return self.is_event_stream is False and not self.is_json

    def describe(self, *, is_json: bool) -> str:
        """Return the message that the body is neither answer nor error; ``is_json``: whether it could be decoded."""
        if self.is_json and is_json:
            return "the server answered with JSON that is neither an answer nor an error"
        if self.is_json:
            return "the server answered with content type application/json, but the body is not JSON"
        return f"the server answered with {self._head}, not an event stream"

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Add bytes, and return the events that they complete if the body turns out to be an event stream.

        Raises:
            SseLimitExceeded: if a line or an event exceeds its limit.
        """
        room = self._max_bytes - len(self.data)
        self.data += data[:room]
        events: list[ServerSentEvent] = []
        if self.is_event_stream is None:
            events = self._decide(data)
        if self.is_event_stream is False:
            self.is_full = len(data) > room
            self.is_markup = self.data[:_MAX_INDENT].removeprefix(_BOM).lstrip().startswith(b"<")
        return events

    def _decide(self, data: bytes) -> list[ServerSentEvent]:
        if self.data and self.data[0] not in _STREAM_STARTS:
            self.is_event_stream = False
            return []
        events = self._sse.feed(data)
        is_too_long = len(self.data) >= _MAX_OTHER_BYTES and self._sse.is_in_foreign_line
        if self._sse.starts_foreign or (is_too_long and not events):
            self.is_event_stream = False
        elif events:
            self.is_event_stream = events[0].event == "error" or events[0].data.lstrip().startswith((b"{", b"["))
        return events if self.is_event_stream else []
