"""A mail server on loopback that accepts and records every message."""

import asyncio
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Self


class FakeSmtpServer:
    """``async with FakeSmtpServer() as server``: the part of SMTP (RFC 5321) that delivery of a message needs.

    ``messages`` are the received messages. With ``refusing``, it rejects every message permanently (550).
    """

    def __init__(self, *, refusing: bool = False) -> None:
        self.messages: list[EmailMessage] = []
        self._refusing = refusing
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve_session(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the client has disconnected, or the test has ended
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve_session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        while line := await reader.readline():
            match line[:4].upper():
                case b"MAIL" if self._refusing:
                    writer.write(b"550 5.7.1 not from you\r\n")
                case b"DATA":
                    writer.write(b"354 go on\r\n")
                    content = await reader.readuntil(b"\r\n.\r\n")
                    self.messages.append(message_from_bytes(content[:-3], policy=policy.default))
                    writer.write(b"250 taken\r\n")
                case b"QUIT":
                    writer.write(b"221 bye\r\n")
                    return
                case _:
                    writer.write(b"250 fine\r\n")
