"""Server-sent events from bytes, however they are split (WHATWG HTML, section 9.2.6).

The ``id`` and ``retry`` fields are legal and mean nothing here: a chat completion cannot be resumed.
"""

from msgspec import Struct

_BOM = b"\xef\xbb\xbf"


class ServerSentEvent(Struct, gc=False):
    """One event: its type (``message`` unless named) and its data, the lines joined by LF."""

    event: str
    data: bytes


class SseInvalid(Exception):
    """The stream breaks a limit of the decoder; ``events`` are those of the last bytes that were whole before it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.events: list[ServerSentEvent] = []


class SseDecoder:
    """An incremental decoder: feed it bytes, take the events they complete.

    It holds at most one line and one event. An event that the end of the stream cuts short is dropped, as the
    specification says; :attr:`pending` tells that there was one.
    """

    __slots__ = (
        "_data",
        "_event",
        "_fresh",
        "_max_event",
        "_max_line",
        "_max_usual",
        "_rest",
        "_rest_size",
        "_size",
        "_skip_lf",
    )

    def __init__(self, *, max_line: int = 1 << 20, max_event: int = 4 << 20) -> None:
        self._max_line = max_line
        self._max_event = max_event
        self._max_usual = min(max_line, max_event)
        self._rest: list[bytes] = []  # the pieces of a line that has not ended yet
        self._rest_size = 0
        self._skip_lf = False
        self._fresh = True
        self._data: list[bytes] = []
        self._size = 0
        self._event = b""

    @property
    def pending(self) -> bool:
        """Whether a line or an event is under way."""
        return bool(self._rest or self._data)

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Return the events that ``data`` completes.

        Raises:
            SseInvalid: if a line or an event grows over its limit, in bytes.
        """
        if (usual := self._usual(data)) is not None:
            return usual
        if self._fresh or self._skip_lf or b"\r" in data:
            data = self._plain(data)
        *lines, rest = data.split(b"\n")
        if lines and self._rest:
            self._rest.append(lines[0])
            lines[0] = b"".join(self._rest)
            self._rest, self._rest_size = [], 0
        events: list[ServerSentEvent] = []
        try:
            for line in lines:
                if len(line) > self._max_line:
                    raise self._line_too_long()
                if not line:
                    if self._data:
                        events.append(self._dispatch())
                    self._event = b""
                elif line.startswith(b"data:"):
                    self._append(line[6:] if line[5:6] == b" " else line[5:])
                else:
                    self._field(line)
            if rest:
                self._rest.append(rest)
                self._rest_size += len(rest)
                if self._rest_size > self._max_line:
                    raise self._line_too_long()
        except SseInvalid as error:
            error.events = events
            raise
        return events

    def _usual(self, data: bytes) -> list[ServerSentEvent] | None:
        """Return the events of ``data`` if it is nothing but whole ones of one plain line each, as it mostly is."""
        if not data.startswith(b"data: ") or not data.endswith(b"\n\n") or len(data) > self._max_usual:
            return None
        if self._fresh or self._skip_lf or self._rest or self._data or self._event or b"\r" in data:
            return None
        blocks = data[:-2].split(b"\n\n")
        plain = [block[6:] for block in blocks if block.startswith(b"data: ") and b"\n" not in block]
        return [ServerSentEvent("message", line) for line in plain] if len(plain) == len(blocks) else None

    def _line_too_long(self) -> SseInvalid:
        return SseInvalid(f"a line of the event stream is longer than {self._max_line} bytes")

    def _plain(self, data: bytes) -> bytes:
        """Turn CR and CRLF into LF, and drop a byte order mark at the start; either may be split between two reads."""
        if self._fresh:
            data = b"".join((*self._rest, data))
            self._rest, self._rest_size = [], 0
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._rest, self._rest_size = ([data], len(data)) if data else ([], 0)
                return b""
            self._fresh = False
            data = data.removeprefix(_BOM)
        if self._skip_lf and data:
            self._skip_lf = False
            data = data.removeprefix(b"\n")
        if data.endswith(b"\r"):
            self._skip_lf = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._append(value)
        elif name == b"event":
            self._event = value[:256]

    def _append(self, value: bytes) -> None:
        self._size += len(value) + 1
        if self._size > self._max_event:
            raise SseInvalid(f"an event of the stream is larger than {self._max_event} bytes")
        self._data.append(value)

    def _dispatch(self) -> ServerSentEvent:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        event = self._event.decode("utf-8", "replace") if self._event else "message"
        self._data, self._size = [], 0
        return ServerSentEvent(event, data)
