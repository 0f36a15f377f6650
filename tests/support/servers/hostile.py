"""A server that answers every request with bytes of the test, which may be endless."""

import asyncio
import gzip
import itertools
import re
import zlib
from collections.abc import Callable, Iterable
from functools import cache
from typing import Final

from support.servers.tcp import TcpServer

BOMB_BYTES: Final = 100 << 20
"""The size of :func:`gzip_bomb` and of :func:`double_gzip_bomb` after decoding."""


class HostileServer(TcpServer):
    """Sends ``head`` and then ``pieces`` until they end or the client disconnects.

    ``heads`` are the heads of the requests. ``interval`` is the time between two pieces in seconds.
    """

    def __init__(self, head: str, pieces: Callable[[], Iterable[bytes]], *, interval: float = 0.0) -> None:
        self._head = head
        self._pieces = pieces
        self._interval = interval
        self.heads: list[str] = []
        super().__init__(self._answer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if length := re.search(r"content-length: (\d+)", head, re.IGNORECASE):
            await reader.readexactly(int(length[1]))
        self.heads.append(head)
        writer.write("\r\n".join([*self._head.split("\n"), "", ""]).encode())
        for piece in self._pieces():
            writer.write(piece)
            await writer.drain()
            if self._interval:
                await asyncio.sleep(self._interval)


def endless(start: bytes, repeated: bytes) -> Callable[[], Iterable[bytes]]:
    """Return a body of ``start`` and then ``repeated`` without end."""
    return lambda: itertools.chain([start], itertools.repeat(repeated))


@cache
def gzip_bomb(start: bytes, filler: bytes = b" " * 1024) -> bytes:
    """Return 100 MiB of ``start`` and repeated ``filler`` as gzip."""
    compressor = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    block = filler * ((1 << 20) // len(filler))
    pieces = [compressor.compress(start), *(compressor.compress(block) for _ in range(BOMB_BYTES >> 20))]
    return b"".join([*pieces, compressor.flush()])


@cache
def double_gzip_bomb(start: bytes) -> bytes:
    """Return :func:`gzip_bomb` as gzip again: a few kilobytes."""
    return gzip.compress(gzip_bomb(start))
