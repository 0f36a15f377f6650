"""The connection under an answer: what is sent on it, and the ways in which it ends."""

import asyncio
import socket
import struct
from typing import Final, Literal

ConnectionLifetime = Literal["keep-alive", "close", "eof"]
"""How long a connection lasts.

``keep-alive``: for as many requests as the client sends. ``close``: for one, and the answer says so. ``eof``: for one,
and its end is the end of the answer, whose head tells no length (as in HTTP/1.0; RFC 9112, 6.3).
"""

_CLOSE_TIMEOUT: Final = 1.0  # seconds that a connection may take to close in peace
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, 0 s. Closing then sends RST (socket(7))


class Connection:
    """One accepted connection, for writing.

    Without ``close_notify``, TLS ends as it does behind a careless proxy or a killed process: with a FIN, and no word
    that nothing follows (RFC 8446, 6.1). A client that closes first is answered in kind all the same.
    """

    def __init__(self, writer: asyncio.StreamWriter, *, close_notify: bool = True) -> None:
        self._writer = writer
        self._skips_close_notify = not close_notify and writer.get_extra_info("ssl_object") is not None
        # So that drain() waits until all is sent. Not 0: asyncio's TLS pauses at a buffer of zero bytes, for good
        writer.transport.set_write_buffer_limits(high=1)

    async def send(self, data: bytes) -> None:
        """Send bytes, and wait until the operating system has them.

        Raises:
            ConnectionError: if the other side has gone.
        """
        self._writer.write(data)
        await self._writer.drain()

    def send_eof(self) -> None:
        """Say that nothing follows, and go on reading, where that can be done: TLS cannot."""
        if self._writer.can_write_eof():
            self._writer.write_eof()

    def close(self) -> None:
        """Close with a FIN. Closing twice does nothing more."""
        if self._skips_close_notify:
            self._writer.transport.abort()  # what was sent has left the program: the socket delivers it before the FIN
        else:
            self._writer.close()

    def reset(self) -> None:
        """Tear the connection down with a RST, as a crashed or restarted peer does."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._writer.transport.abort()

    def abort(self) -> None:
        """Drop the connection, and whatever was not sent."""
        self._writer.transport.abort()

    async def close_and_wait(self) -> None:
        """Close, wait for a moment until that is done, and drop what is left."""
        try:
            self.close()
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self._writer.wait_closed()
        except OSError:
            pass  # broken, or not closed in time (TimeoutError): what could not be sent by now never will be
        finally:
            self.abort()
