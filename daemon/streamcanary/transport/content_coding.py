"""Content codings of responses (RFC 9110, 8.4.1): which are accepted, and decoding with bounds.

A few kilobytes of gzip can decode to gigabytes, and one coding around another multiplies that. So a body is decoded at
most once, only with a coding that the request offered, in pieces of bounded size.
"""

import zlib
from collections.abc import Iterator
from functools import lru_cache

import httpx2

MAX_DECODED_BYTES = 64 << 20
"""Bytes of a compressed body after decoding; more raises :class:`DecodedBodyTooLong`."""

_MAX_PIECE_BYTES = 64 << 10  # bytes that one step decodes
_SUPPORTED = frozenset({"gzip", "deflate"})
_REGISTERED = _SUPPORTED | {"aes128gcm", "br", "compress", "dcb", "dcz", "exi", "pack200-gzip", "zstd"}
"""The content codings of the IANA registry, without ``identity``."""
_MAX_SHOWN = 100  # characters of a Content-Encoding in a message


class ContentCodingRefused(httpx2.DecodingError):
    """The body of a response is not decoded; the message says why."""


class DecodedBodyTooLong(httpx2.DecodingError):
    """A body is longer than :data:`MAX_DECODED_BYTES` once it is decoded."""


@lru_cache(maxsize=64)
def supported_accept_encoding(accept_encoding: str) -> str:
    """Return an ``Accept-Encoding`` without the codings that cannot be decoded with bounds, such as ``br``."""
    members = [member.strip() for member in accept_encoding.split(",")]
    return ", ".join(member for member in members if _coding_of(member) in _SUPPORTED | {"identity"}) or "identity"


def create_decoder(content_encoding: str | None, accept_encoding: str | None) -> "ContentDecoder | None":
    """Return the decoder of a body with ``content_encoding``; ``None`` for a body without a coding.

    ``accept_encoding`` is what the request offered. Names that are no content coding, such as ``none``, ``utf-8`` and
    ``chunked``, are ignored, as HTTP clients do: servers write them by mistake, and the body is not encoded.

    Raises:
        ContentCodingRefused: if a registered coding was not offered, or if the body has more than one.
    """
    if not content_encoding:
        return None
    codings = [coding for member in content_encoding.split(",") if (coding := _coding_of(member)) in _REGISTERED]
    if not codings:
        return None
    shown = ", ".join(codings)[:_MAX_SHOWN]
    if len(codings) > 1:
        raise ContentCodingRefused(f"its body has more than one content coding ({shown}), which is not decoded")
    if codings[0] not in _offered_codings(accept_encoding or ""):
        raise ContentCodingRefused(
            f"its body has the content coding {shown}, which the request did not offer in Accept-Encoding"
        )
    return ContentDecoder(codings[0])


class ContentDecoder:
    """Decodes ``gzip`` or ``deflate`` step by step."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._decompressor = zlib.decompressobj(zlib.MAX_WBITS | 16) if coding == "gzip" else None
        self._first_bytes = b""
        self.decoded_bytes = 0

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield what ``data`` adds to the body, in pieces of at most 64 KiB. Each is decoded when it is requested.

        Raises:
            httpx2.DecodingError: if the data is not valid.
            DecodedBodyTooLong: if the body is longer than :data:`MAX_DECODED_BYTES`.
        """
        if self._decompressor is None:
            data = self._first_bytes = self._first_bytes + data
            if len(data) < 2:
                return
            # Some servers send "deflate" without the zlib header that the standard requires.
            has_header = data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
            self._decompressor = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        decompressor = self._decompressor
        while not decompressor.eof:
            try:
                piece = decompressor.decompress(data, _MAX_PIECE_BYTES)
            except zlib.error as error:
                raise httpx2.DecodingError(f"the body is not valid {self._coding}: {error}") from None
            data = decompressor.unconsumed_tail
            self.decoded_bytes += len(piece)
            if self.decoded_bytes > MAX_DECODED_BYTES:
                raise DecodedBodyTooLong(f"the body is larger than {MAX_DECODED_BYTES >> 20} MiB once decompressed")
            if piece:
                yield piece
            if len(piece) < _MAX_PIECE_BYTES and not data:
                return


@lru_cache(maxsize=64)
def _offered_codings(accept_encoding: str) -> frozenset[str]:
    return (
        frozenset(
            _coding_of(member)
            for member in accept_encoding.split(",")
            if member.replace(" ", "").partition(";q=")[2].rstrip("0.") or ";" not in member
        )
        & _SUPPORTED
    )


def _coding_of(member: str) -> str:
    coding = member.partition(";")[0].strip().lower()
    return coding.removeprefix("x-") if coding in ("x-gzip", "x-compress") else coding
