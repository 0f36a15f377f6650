"""The subset of HTTP/1.1 (RFC 9112) that the simulator needs: reads bounded requests, renders heads and chunks."""

import asyncio
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

from msgspec import Struct

MAX_HEAD = 32 * 1024
"""Bytes of request line and headers."""
MAX_HEADERS = 100
MAX_BODY = 4 * 1024 * 1024
"""Bytes of a request body, chunked or not."""
_MAX_CHUNK_LINE = 256
_MAX_PIPELINED = 64 * 1024
_READ_SIZE = 64 * 1024

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LENGTH = re.compile(r"[0-9]{1,15}")
_HEX = re.compile(rb"[0-9A-Fa-f]{1,8}")


class BadRequest(Exception):
    """The request is invalid or not supported; ``status`` is the status of the response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class PeerDisconnected(Exception):
    """The client has closed the connection."""


class RequestHead(Struct, frozen=True, kw_only=True):
    """The request line and the headers, names in lower case; ``path`` is decoded and without its ``query``."""

    method: str
    path: str
    headers: Mapping[str, str]
    query: str = ""

    @property
    def is_keep_alive(self) -> bool:
        """Whether the client would send another request on this connection."""
        return "close" not in _header_tokens(self.headers.get("connection", ""))

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for ``100 Continue`` before it sends the body."""
        return "100-continue" in _header_tokens(self.headers.get("expect", ""))

    def body_length(self) -> int | None:
        """Return the length of the body in bytes, or ``None`` if it is chunked.

        Raises:
            BadRequest: if the length is not a number, too large, or contradictory, or the transfer coding unsupported.
        """
        coding, length = self.headers.get("transfer-encoding"), self.headers.get("content-length")
        if coding is not None:
            if length is not None:
                raise BadRequest(400, "a request has a Content-Length or a Transfer-Encoding, not both")
            if coding.strip().lower() != "chunked":
                raise BadRequest(501, "the only supported transfer coding of a request body is chunked")
            return None
        if length is None:
            return 0
        if not _LENGTH.fullmatch(length):
            raise BadRequest(400, "Content-Length is not a number of bytes")
        if int(length) > MAX_BODY:
            raise BadRequest(413, f"the request body is larger than {MAX_BODY} bytes")
        return int(length)


def parse_head(data: bytes) -> RequestHead:
    """Parse a request head, given without its closing empty line.

    Raises:
        BadRequest: if it is not valid HTTP/1.1.
    """
    request_line, *lines = data.decode("latin-1").split("\r\n")
    match request_line.split(" "):
        case [method, target, "HTTP/1.1"] if _TOKEN.fullmatch(method) and target:
            pass
        case [_, _, version] if version.startswith("HTTP/") and version != "HTTP/1.1":
            raise BadRequest(505, "only HTTP/1.1 is supported")
        case _:
            raise BadRequest(400, "the request line is not HTTP")
    if len(lines) > MAX_HEADERS:
        raise BadRequest(431, f"a request has at most {MAX_HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or any(c in value for c in "\r\n\0"):
            raise BadRequest(400, "a header line is not of the form name: value")
        name, value = name.lower(), value.strip(" \t")
        if name == "content-length" and headers.get(name, value) != value:
            raise BadRequest(400, "Content-Length is given twice")
        headers[name] = f"{headers[name]}, {value}" if name in headers and name != "content-length" else value
    try:
        parts = urlsplit(target)
        path = unquote(parts.path, errors="strict")
    except ValueError:
        raise BadRequest(400, "the path of the request is not valid") from None
    return RequestHead(method=method, path=path, headers=headers, query=parts.query)


class RequestReader:
    """Reads requests from one connection, and detects when the client disconnects.

    Pipelined bytes (a request that is sent before the last response) are buffered for the next read.
    """

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._buffer = bytearray()

    async def wait_for_request(self) -> None:
        """Wait for the first byte of a request.

        Raises:
            PeerDisconnected: if the connection ends instead.
        """
        if not self._buffer:
            await self._read_more()

    async def read_head(self) -> RequestHead:
        """Return the next head.

        Raises:
            BadRequest: if it is invalid or too long.
            PeerDisconnected: if the connection ends before the head does.
        """
        return parse_head(
            await self._read_until(b"\r\n\r\n", MAX_HEAD, 431, "the request line and headers are too long")
        )

    async def read_body(self, head: RequestHead) -> bytes:
        """Return the body of the request with ``head``.

        Raises:
            BadRequest: if it is too long, or its chunks are malformed.
            PeerDisconnected: if the connection ends before the body does.
        """
        length = head.body_length()
        return await self._read_chunked() if length is None else await self._read_exactly(length)

    async def wait_for_disconnect(self) -> None:
        """Wait until the client closes the connection."""
        try:
            while len(self._buffer) < _MAX_PIPELINED:
                await self._read_more()
        except PeerDisconnected:
            return
        await asyncio.Event().wait()  # the buffer is full: stop reading, the end of the response ends the connection

    async def discard(self) -> None:
        """Read and discard until the client closes the connection or has sent the maximum size of a request."""
        try:
            for _ in range(MAX_BODY // _READ_SIZE):
                self._buffer.clear()
                await self._read_more()
        except PeerDisconnected:
            return

    async def _read_chunked(self) -> bytes:
        body = bytearray()
        while True:
            line = await self._read_until(b"\r\n", _MAX_CHUNK_LINE, 400, "the size line of a chunk is too long")
            size = line.partition(b";")[0].strip()
            if not _HEX.fullmatch(size):
                raise BadRequest(400, "the size of a chunk is not a hexadecimal number")
            length = int(size, 16)
            if len(body) + length > MAX_BODY:
                raise BadRequest(413, f"the request body is larger than {MAX_BODY} bytes")
            if length == 0:
                break
            body += await self._read_exactly(length)
            if await self._read_exactly(2) != b"\r\n":
                raise BadRequest(400, "a chunk is longer than its size line says")
        for _ in range(MAX_HEADERS):
            if not await self._read_until(b"\r\n", MAX_HEAD, 431, "a trailer is too long"):
                return bytes(body)
        raise BadRequest(431, f"a request has at most {MAX_HEADERS} trailers")

    async def _read_until(self, delimiter: bytes, limit: int, status: int, too_long: str) -> bytes:
        """Return the bytes before ``delimiter``, and drop the delimiter."""
        while (end := self._buffer.find(delimiter, 0, limit + len(delimiter))) < 0:
            if len(self._buffer) > limit:
                raise BadRequest(status, too_long)
            await self._read_more()
        data = bytes(self._buffer[:end])
        del self._buffer[: end + len(delimiter)]
        return data

    async def _read_exactly(self, length: int) -> bytes:
        while len(self._buffer) < length:
            await self._read_more()
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        return data

    async def _read_more(self) -> None:
        # Nothing is awaited between reading and buffering, so a cancelled read loses no byte.
        try:
            data = await self._reader.read(_READ_SIZE)
        except OSError:  # reset, timed out, broken TLS: treated as a disconnect
            data = b""
        if not data:
            raise PeerDisconnected
        self._buffer += data


def render_head(status: int, headers: Iterable[tuple[str, str]], *, version: str = "HTTP/1.1") -> bytes:
    """Return a status line and headers, followed by an empty line."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:  # 529, for example, is not registered
        phrase = "Unregistered"
    lines = [f"{version} {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def render_chunk(data: bytes) -> bytes:
    """Return ``data`` as one chunk of a chunked body; without data, the last chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _header_tokens(value: str) -> set[str]:
    return {word.strip().lower() for word in value.split(",")}
