"""Decodes server-sent events from bytes, split at any position (WHATWG HTML, section 9.2.6).

The ``id`` and ``retry`` fields are ignored, because a completion cannot be resumed. So are unknown fields, with one
exception: some servers report an error in a field of its own, ``error: {"code": 400, "message": "…"}`` (llama.cpp), or
as a bare line of JSON. Such a line is an event of type ``error`` as soon as it ends, also at the end of the stream.
``sse_errors`` says which lines these are. Other lines that no event stream has are kept, up to 64 KiB: they may be an
error in several lines or in words, or a page.
"""

from msgspec import Struct

from streamcanary.client.core.decoding.sse_errors import error_in_json, error_in_line
from streamcanary.client.core.limits import DEFAULT_LIMITS, Limits

_BOM = b"\xef\xbb\xbf"
_OTHER_FIELDS = frozenset({b"", b"id", b"retry"})  # comments have no name; the other two are ignored
_FIELDS = _OTHER_FIELDS | {b"data", b"event"}
_FIELD_STARTS = tuple(field + b":" for field in _FIELDS)
_MAX_FIELD_BYTES = 8  # more than the longest name and its colon
_MAX_FOREIGN_BYTES = 64 << 10


class ServerSentEvent(Struct, gc=False):
    """One event: its type (``message`` unless named) and its data, the lines joined by LF."""

    event: str
    data: bytes


class SseLimitExceeded(Exception):
    """A line or event exceeds its limit; ``events`` are those that the same bytes completed before it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.events: list[ServerSentEvent] = []


class SseDecoder:
    """An incremental decoder: takes bytes, returns the events that they complete.

    It buffers at most one line and one event. An incomplete event at the end of the stream is dropped, as the
    specification requires, unless it is an error.
    """

    __slots__ = (
        "_at_start",
        "_data",
        "_data_size",
        "_event_type",
        "_fast_path_limit",
        "_is_at_event_start",
        "_limits",
        "_max_event",
        "_max_line",
        "_partial_line",
        "_skip_lf",
        "foreign_lines",
        "starts_foreign",
    )

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._max_line = limits.line_bytes
        self._max_event = limits.event_bytes
        self._fast_path_limit = min(self._max_line, self._max_event)
        self._partial_line = bytearray()  # a line that has not ended yet; appending to it takes amortized linear time
        self._skip_lf = False
        self._at_start = True
        self._is_at_event_start = False  # nothing is pending, and no line end is half read
        self._data: list[bytes] = []
        self._data_size = 0
        self._event_type = b""
        self.foreign_lines = bytearray()  # lines that no event stream has, such as those of an HTML page
        self.starts_foreign = False  # the first of them came before any event of the same read

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Return the events that ``data`` completes.

        Raises:
            SseLimitExceeded: if a line or an event exceeds its limit in bytes.
        """
        if self._is_at_event_start and (fast_events := self._read_complete_events(data)) is not None:
            return fast_events
        events = self._feed_lines(data)
        self._is_at_event_start = not (
            self._at_start or self._skip_lf or self._partial_line or self._data or self._event_type
        )
        return events

    def _feed_lines(self, data: bytes) -> list[ServerSentEvent]:
        """Return the events that the lines of ``data`` complete; raises as :meth:`feed` does."""
        if self._at_start or self._skip_lf or b"\r" in data:
            data = self._normalize_line_ends(data)
        *lines, rest = data.split(b"\n")
        if lines and self._partial_line:
            self._partial_line += lines[0]
            lines[0] = bytes(self._partial_line)
            self._partial_line = bytearray()
        events: list[ServerSentEvent] = []
        try:
            for line in lines:
                if len(line) > self._max_line:
                    raise self._line_too_long()
                if not line:
                    if self._data:
                        events.append(self._dispatch())
                    self._event_type = b""
                elif line.startswith(b"data:"):
                    self._append_data(line[6:] if line[5:6] == b" " else line[5:])
                else:
                    self._process_field(line, events)
            if rest:
                self._partial_line += rest
                if len(self._partial_line) > self._max_line:
                    raise self._line_too_long()
        except SseLimitExceeded as error:
            error.events = events
            raise
        return events

    @property
    def is_in_foreign_line(self) -> bool:
        """Whether the line that has not ended yet is one that no event stream has."""
        line = bytes(self._partial_line[:_MAX_FIELD_BYTES])
        return line != b"" and not any(field.startswith(line) or line.startswith(field) for field in _FIELD_STARTS)

    def feed_eof(self) -> list[ServerSentEvent]:
        """Return the error in the incomplete line or event at the end of the stream, if there is one."""
        line = bytes(self._partial_line)
        if line.partition(b":")[0] not in _FIELDS:
            self._keep_foreign(line)
        if line.startswith(b"data:"):
            data = b"\n".join((*self._data, line[5:].removeprefix(b" ")))
            error = error_in_json(data)
        else:
            error = error_in_line(line)
            if error is None and self._data:
                error = error_in_json(b"\n".join(self._data))
        return [] if error is None else [ServerSentEvent("error", error)]

    def _read_complete_events(self, data: bytes) -> list[ServerSentEvent] | None:
        """Return the events of ``data`` if it consists of complete one-line events, the usual case; else ``None``."""
        size = len(data)
        if (
            not data.startswith(b"data: ")
            or not data.endswith(b"\n\n")
            or b"\r" in data
            or size > self._fast_path_limit
        ):
            return None
        if data.find(b"\n") == size - 2:  # one event
            return [ServerSentEvent("message", data[6:-2])]
        blocks = data[:-2].split(b"\n\n")
        plain = [block[6:] for block in blocks if block.startswith(b"data: ") and b"\n" not in block]
        return [ServerSentEvent("message", line) for line in plain] if len(plain) == len(blocks) else None

    def _line_too_long(self) -> SseLimitExceeded:
        return SseLimitExceeded(self._limits.excess("max_line_bytes", "a line of the event stream"))

    def _normalize_line_ends(self, data: bytes) -> bytes:
        """Turn CR and CRLF into LF, and drop a byte order mark at the start; either may be split between two reads."""
        if self._at_start:
            data = bytes(self._partial_line) + data
            self._partial_line = bytearray()
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._partial_line += data
                return b""
            self._at_start = False
            data = data.removeprefix(_BOM)
        if self._skip_lf and data:
            self._skip_lf = False
            data = data.removeprefix(b"\n")
        if data.endswith(b"\r"):
            self._skip_lf = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _process_field(self, line: bytes, events: list[ServerSentEvent]) -> None:
        """Handle a line other than ``data:``; add an event to ``events`` if it is an error."""
        name, _, value = line.partition(b":")
        if name == b"data":  # without a colon
            self._append_data(value)
        elif name == b"event":
            self._event_type = value.removeprefix(b" ")[:256]
        elif name not in _OTHER_FIELDS:
            if (error := error_in_line(line)) is not None:
                events.append(ServerSentEvent("error", error))
            else:
                self.starts_foreign = self.starts_foreign or not (events or self.foreign_lines)
                self._keep_foreign(line)

    def _keep_foreign(self, line: bytes) -> None:
        self.foreign_lines += (line + b"\n")[: _MAX_FOREIGN_BYTES - len(self.foreign_lines)]

    def _append_data(self, value: bytes) -> None:
        self._data_size += len(value) + 1
        if self._data_size > self._max_event:
            raise SseLimitExceeded(self._limits.excess("max_event_bytes", "an event of the stream"))
        self._data.append(value)

    def _dispatch(self) -> ServerSentEvent:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        event = self._event_type.decode("utf-8", "replace") if self._event_type else "message"
        self._data, self._data_size = [], 0
        return ServerSentEvent(event, data)
