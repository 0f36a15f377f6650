"""The connection of a response: sends bytes, and closes or resets the connection."""

import asyncio
import socket
import struct
from typing import Final, Literal

ConnectionLifetime = Literal["keep-alive", "close", "eof"]
"""How long a connection lasts.

``keep-alive``: for any number of requests. ``close``: for one request, with ``Connection: close``. ``eof``: for one
request; the end of the connection ends the response, whose head has no length (as in HTTP/1.0; RFC 9112, 6.3).
"""

_CLOSE_TIMEOUT: Final = 1.0  # seconds for a graceful close of a connection
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, 0 s. Closing then sends RST (socket(7))


class Connection:
    """One accepted connection, for writing.

    Without ``close_notify``, a TLS connection ends with a FIN but without a close_notify alert (RFC 8446, 6.1), as
    behind some proxies or after the death of a process. If the client closes first, the alert is still sent.
    """

    def __init__(self, writer: asyncio.StreamWriter, *, close_notify: bool = True) -> None:
        self._writer = writer
        self._skips_close_notify = not close_notify and writer.get_extra_info("ssl_object") is not None
        # So that drain() waits until all bytes are sent. Not 0: asyncio's TLS then pauses at an empty buffer forever.
        writer.transport.set_write_buffer_limits(high=1)

    async def send(self, data: bytes) -> None:
        """Send bytes, and wait until the operating system has them.

        Raises:
            ConnectionError: if the client has disconnected.
        """
        self._writer.write(data)
        await self._writer.drain()

    def send_eof(self) -> None:
        """Half-close the connection, which can still be read; does nothing with TLS, which does not support it."""
        if self._writer.can_write_eof():
            self._writer.write_eof()

    def close(self) -> None:
        """Close with a FIN. A second call does nothing."""
        if self._skips_close_notify:
            self._writer.transport.abort()  # sent bytes are in the socket buffer, which is delivered before the FIN
        else:
            self._writer.close()

    def reset(self) -> None:
        """Tear the connection down with a RST, as a crashed or restarted peer does."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._writer.transport.abort()

    def abort(self) -> None:
        """Close the connection at once, and drop bytes in the send buffer."""
        self._writer.transport.abort()

    async def close_and_wait(self) -> None:
        """Close, wait up to 1 s until that is done, and drop bytes in the send buffer."""
        try:
            self.close()
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self._writer.wait_closed()
        except OSError:
            pass  # broken, or not closed in time (TimeoutError): bytes in the send buffer are lost
        finally:
            self.abort()
