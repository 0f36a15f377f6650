"""A receiver of notifications that records requests and responds as scripted."""

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal, Self

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The signing secret from the specification of Standard Webhooks."""


@dataclass(frozen=True)
class Reply:
    """An HTTP response."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


HANG: Literal["hang"] = "hang"
"""Read the request and never respond."""
CLOSE: Literal["close"] = "close"
"""Read the request and close the connection."""
CUT: Literal["cut"] = "cut"
"""Begin a response, and close the connection within the headers."""

SLOW: Literal["slow"] = "slow"
"""Read the request, and accept it once the test allows it."""

Behaviour = Reply | Literal["hang", "close", "cut", "slow"]


@dataclass(frozen=True)
class Delivery:
    """A received request. Header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as parsed JSON."""
        return json.loads(self.body)

    @property
    def id(self) -> str:
        """The ``webhook-id`` header."""
        return self.headers["webhook-id"]

    def signed_with(self, secret: str) -> bool:
        """Return whether the signature is valid for ``secret`` by Standard Webhooks."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        content = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        return self.headers["webhook-signature"] == f"v1,{signature}"


class FakeReceiver:
    """``async with FakeReceiver() as receiver``: a server on a loopback port.

    ``script`` has the behaviours for the next requests, in order; when it is empty, :meth:`reply` decides. With ``ssl``
    the server uses TLS. ``finish_slow`` lets slow responses be sent.
    """

    def __init__(self, *script: Behaviour, always: Behaviour | None = None, ssl: ssl.SSLContext | None = None) -> None:
        self._ssl = ssl
        self.script: deque[Behaviour] = deque(script)
        self.always: Behaviour = always or Reply()
        self.deliveries: list[Delivery] = []
        self.accepted: list[Delivery] = []
        self.finish_slow = asyncio.Event()
        self._arrived = asyncio.Condition()
        self._handlers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The base URL."""
        assert self._server is not None
        scheme = "https" if self._ssl else "http"
        return f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._ssl)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._server.wait_closed()

    async def wait_for_deliveries(self, count: int, within: float = 20.0) -> list[Delivery]:
        """Wait up to ``within`` seconds for ``count`` deliveries with any response, and return all deliveries."""
        async with asyncio.timeout(within), self._arrived:
            await self._arrived.wait_for(lambda: len(self.deliveries) >= count)
        return self.deliveries

    def accepted_notifications(self) -> list[tuple[str, str]]:
        """Return type and id of each accepted webhook, without duplicates."""
        return list(dict.fromkeys((delivery.json["type"], delivery.id) for delivery in self.accepted))

    def reply(self, delivery: Delivery) -> Behaviour:
        """Return the behaviour for ``delivery``: ``always``."""
        return self.always

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client has closed the connection, as a killed daemon does
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            self._handlers.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        delivery = Delivery(
            head[0].split(" ")[1], headers, await reader.readexactly(int(headers.get("content-length", "0")))
        )
        behaviour = self.script.popleft() if self.script else self.reply(delivery)
        self.deliveries.append(delivery)
        if isinstance(behaviour, Reply) and behaviour.status < 300:
            self.accepted.append(delivery)
        async with self._arrived:
            self._arrived.notify_all()
        if behaviour == "slow":
            await self.finish_slow.wait()
            behaviour = Reply()
        if behaviour == "hang":
            await asyncio.Event().wait()
        if behaviour == "cut":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
            await writer.drain()
        if not isinstance(behaviour, Reply):
            return False
        lines = [f"HTTP/1.1 {behaviour.status} Said", f"Content-Length: {len(behaviour.body)}"]
        lines += [f"{name}: {value}" for name, value in behaviour.headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + behaviour.body)
        await writer.drain()
        return True
