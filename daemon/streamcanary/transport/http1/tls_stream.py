"""TLS over a stream of bytes."""

import ssl
from typing import Any

import httpx2

from streamcanary.transport.http1.byte_stream import MAX_READ, ByteStream


class TlsStream:
    """TLS over ``stream``, as a client of the host ``server_name``. Call :meth:`handshake` first.

    A server that closes the connection without the alert of TLS for it ends the stream, as one with the alert does:
    HTTP says itself whether an answer is complete.
    """

    def __init__(self, stream: ByteStream, context: ssl.SSLContext, server_name: str) -> None:
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=False, server_hostname=server_name)

    async def handshake(self) -> None:
        """Do the handshake.

        Raises:
            ssl.SSLError: if it fails.
            httpx2.ReadError, httpx2.WriteError: if the connection is lost.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush(None)
                await self._receive(None)
            except ssl.SSLError:
                await self._send_alert()
                raise
            else:
                await self._flush(None)
                return

    async def read(self, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - see Stream
        """Return bytes, or wait for them; the errors are those of :class:`ByteStream`."""
        while True:
            try:
                return self._tls.read(MAX_READ)
            except ssl.SSLWantReadError:
                await self._flush(timeout)
                await self._receive(timeout)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            except ssl.SSLError as error:
                if "UNEXPECTED_EOF_WHILE_READING" in (error.strerror or ""):
                    return b""
                raise httpx2.ReadError(str(error)) from error

    async def write(self, data: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - see Stream
        """Send ``data``; the errors are those of :class:`ByteStream`."""
        while data:
            try:
                data = data[self._tls.write(data) :]
            except ssl.SSLWantReadError:  # during a renegotiation
                await self._flush(timeout)
                await self._receive(timeout)
            except ssl.SSLError as error:
                raise httpx2.WriteError(str(error)) from error
        await self._flush(timeout)

    def abort(self) -> None:
        """Close the connection at once."""
        self._stream.abort()

    async def aclose(self) -> None:
        """Close the connection at once, and wait for that."""
        await self._stream.aclose()

    def is_silent(self) -> bool:
        """Return whether the connection is open and nothing has arrived."""
        return not self._tls.pending() and not self._incoming.pending and self._stream.is_silent()

    def get_extra_info(self, info: str) -> Any:
        """Return ``ssl_object``, or what :class:`ByteStream` has."""
        return self._tls if info == "ssl_object" else self._stream.get_extra_info(info)

    async def _receive(self, timeout: float | None) -> None:  # noqa: ASYNC109 - see Stream
        if data := await self._stream.read(timeout):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self, timeout: float | None) -> None:  # noqa: ASYNC109 - see Stream
        if data := self._outgoing.read():
            await self._stream.write(data, timeout)

    async def _send_alert(self) -> None:
        """Send why the handshake has failed, if the connection is still open."""
        try:
            await self._flush(None)
        except httpx2.WriteError:
            return
