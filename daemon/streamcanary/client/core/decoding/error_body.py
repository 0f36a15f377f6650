"""The body of an error response: read up to a limit, decoded at most once, and parsed as far as it was read."""

import json
import re
from collections.abc import Mapping

import httpx2

from streamcanary.transport.content_coding import ContentCodingRefused, ContentDecoder, create_decoder

MAX_ERROR_BODY_BYTES = 64 << 10
"""Bytes of the body of an error response that are read from the network, and that are kept after decoding."""

# Other encodings are not looked up: some of Python's take quadratic time, or are no text encodings.
_ENCODINGS = {"iso-8859-1": "latin-1", "latin-1": "latin-1", "us-ascii": "latin-1", "windows-1252": "cp1252"}
_CHARSET = re.compile(r"charset=[\"']?([\w.:-]{1,40})", re.IGNORECASE)
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*("?)|[\[\]{},]', re.DOTALL)
_MAX_JSON_DEPTH = 32  # real errors have a depth of about five


class ErrorBody:
    """The body of an error response with ``headers``, to a request that offered the codings in ``accept_encoding``."""

    def __init__(self, headers: Mapping[str, str], accept_encoding: str | None) -> None:
        self._content_type = headers.get("content-type", "")
        self._data = bytearray()
        self._raw_size = 0
        self._decoder: ContentDecoder | None = None
        self._refusal = ""
        self.is_full = False
        try:
            self._decoder = create_decoder(headers.get("content-encoding"), accept_encoding)
        except ContentCodingRefused as error:
            self._refusal, self.is_full = f"the server answered with an error, and {error}", True

    def feed(self, data: bytes) -> bool:
        """Add bytes from the network, and return whether more are wanted; bytes that cannot be decoded end the body."""
        self._raw_size += len(data)
        if self._decoder is None:
            self._keep(data)
        else:
            try:
                for piece in self._decoder.decode(data):
                    self._keep(piece)
                    if self.is_full:
                        break
            except httpx2.DecodingError:
                self.is_full = True
        self.is_full = self.is_full or self._raw_size >= MAX_ERROR_BODY_BYTES
        return not self.is_full

    def feed_decoded(self, data: bytes) -> None:
        """Add bytes that the transport has decoded already."""
        self._refusal = ""
        self._keep(data)

    def _keep(self, data: bytes) -> None:
        self._data += data[: MAX_ERROR_BODY_BYTES - len(self._data)]
        self.is_full = self.is_full or len(self._data) >= MAX_ERROR_BODY_BYTES

    def parse(self) -> object:
        """Return the value of a JSON body, also of one that was truncated, or else the text."""
        if self._refusal:
            return self._refusal
        charset = _CHARSET.search(self._content_type)
        text = self._data.decode(_ENCODINGS.get(charset[1].lower(), "utf-8") if charset else "utf-8", "replace").strip()
        return parse_error_text(text)


def parse_error_text(text: str) -> object:
    """Return the value of ``text`` if it is JSON, or the beginning of JSON; otherwise ``text``."""
    if text[:1] not in ("{", "[", '"'):
        return text
    for candidate in _json_candidates(text):
        try:
            value = json.loads(candidate)
        except ValueError:  # also an integer with too many digits
            continue
        if value or candidate == text:
            return value
    return text


def _json_candidates(text: str) -> tuple[str, ...]:
    """Return what may be JSON; nothing if ``text`` is nested too deeply.

    That is ``text`` itself, ``text`` with its open strings and brackets closed, and ``text`` up to its last complete
    member with its open brackets closed.
    """
    closers: list[str] = []
    last_complete, last_closers = 0, ""
    is_string_open = False
    for token in _JSON_TOKEN.finditer(text):
        mark = token[0][0]
        if mark == '"':
            is_string_open = not token[1]
        elif mark in "{[":
            closers.append("}" if mark == "{" else "]")
            if len(closers) > _MAX_JSON_DEPTH:
                return ()
            last_complete, last_closers = token.end(), "".join(reversed(closers))
        elif mark == "," and closers:
            last_complete, last_closers = token.start(), "".join(reversed(closers))
        elif closers:
            closers.pop()
    ends = "".join(reversed(closers))
    closed = re.sub(r"\\(u[0-9a-fA-F]{0,3})?$", "", text) + '"' if is_string_open else text
    return text, closed + ends, text[:last_complete] + last_closers
