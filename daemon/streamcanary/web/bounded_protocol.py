"""HTTP/1.1 of uvicorn with limits on connections and time: uvicorn itself waits without limit for a request.

Silent or slow clients would otherwise use up the connections, and the kubelet could not get ``/livez``.
"""

import asyncio
from typing import Any, ClassVar, Final

from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from streamcanary.web.connection_table import ConnectionTable, peer_of

HEAD_TIMEOUT = 5.0
"""Seconds for the head of a request: from the opening of a connection, or from the first byte after a response."""
REQUEST_TIMEOUT = 10.0
"""Seconds from the head of a request to the end of its response, with the body of the request."""
KEEP_ALIVE_TIMEOUT = 5
"""Seconds without a byte after a response, then the connection is closed."""

EXTEND_DEADLINE: Final = "extend_deadline"
"""The name of the function in the state of a request that gives its response more time: that many seconds from now."""

_CLOSE_TIMEOUT = 1.0  # seconds for the rest of a response, once the connection is being closed


class BoundedProtocol(H11Protocol):
    """One connection. ``table`` is set by a subclass, for all connections of one server."""

    table: ClassVar[ConnectionTable["BoundedProtocol"]]

    peer = ""
    _deadline: asyncio.TimerHandle | None = None
    _is_between_requests = False
    _timed_cycle: object = None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, EXTEND_DEADLINE: self._set_deadline}, _loop)

    @property
    def is_waiting_for_client(self) -> bool:
        """Whether no request is being processed, or its client has to send the rest of it or read the response."""
        if self._timed_cycle is None or self.flow.write_paused:
            return True
        return self.cycle.response_complete or self.cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Enter the connection in the table, which may close another one."""
        super().connection_made(transport)
        self.peer = peer_of(self.client[0] if self.client else "")
        replaced = self.table.add(self)
        if replaced is not None:
            replaced.transport.abort()
        self._set_deadline(HEAD_TIMEOUT)

    def data_received(self, data: bytes) -> None:
        """Handle received bytes, and limit the time for the rest of the head or of the request."""
        if self._is_between_requests:
            self._is_between_requests = False
            self._set_deadline(HEAD_TIMEOUT)
        super().data_received(data)
        self._limit_new_request()

    def on_response_complete(self) -> None:
        """Wait for the next request, or handle one that was sent early."""
        self._is_between_requests = True
        self._set_deadline(KEEP_ALIVE_TIMEOUT + _CLOSE_TIMEOUT)  # uvicorn closes the connection before
        super().on_response_complete()
        self._limit_new_request()  # one that the client has sent before it had this response

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the place in the table."""
        self.table.remove(self)
        if self._deadline:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _limit_new_request(self) -> None:
        if self.cycle is not self._timed_cycle and not self.cycle.response_complete:
            self._timed_cycle = self.cycle
            self._is_between_requests = False
            self._set_deadline(REQUEST_TIMEOUT)

    def _set_deadline(self, seconds: float) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)
