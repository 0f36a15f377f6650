"""The webhook receiver of the demo: listens on loopback, checks signatures and passes on notifications."""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Self

from streamcanary.simulator.http.http1 import BadRequest, PeerDisconnected, RequestReader

_TIMEOUT = 10.0  # seconds for the arrival of a delivery


class WebhookReceiver:
    """Listens while it is entered, and calls ``on_notification`` with every notification that has a valid signature."""

    def __init__(self, on_notification: Callable[[dict[str, Any]], None]) -> None:
        self._on_notification = on_notification
        self._key = secrets.token_bytes(32)
        self._server: asyncio.Server | None = None
        self.seen_ids: set[str] = set()

    @property
    def secret(self) -> str:
        """The secret of the signatures, in the format of Standard Webhooks."""
        return "whsec_" + base64.b64encode(self._key).decode()

    @property
    def url(self) -> str:
        """The address of the receiver."""
        if self._server is None:
            raise RuntimeError("the receiver has no address before it is entered")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}/page"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests = RequestReader(reader)
        try:
            async with asyncio.timeout(_TIMEOUT):
                head = await requests.read_head()
                body = await requests.read_body(head)
            status = "204 No Content" if self._accept_delivery(head.headers, body) else "401 Unauthorized"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
        except (BadRequest, PeerDisconnected, ConnectionError, TimeoutError):
            pass  # not a delivery, or the sender retries it
        finally:
            writer.close()

    def _accept_delivery(self, headers: Mapping[str, str], body: bytes) -> bool:
        notification_id, timestamp, signature = (
            headers.get(f"webhook-{field}", "") for field in ("id", "timestamp", "signature")
        )
        digest = hmac.new(
            self._key, b".".join((notification_id.encode(), timestamp.encode(), body)), hashlib.sha256
        ).digest()
        if not hmac.compare_digest(signature, "v1," + base64.b64encode(digest).decode()):
            return False
        if notification_id not in self.seen_ids:  # delivery is at least once: a repeat has the same id
            self.seen_ids.add(notification_id)
            self._on_notification(json.loads(body))
        return True
