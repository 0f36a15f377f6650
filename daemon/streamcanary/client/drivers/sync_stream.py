"""The synchronous stream: the same state machine as the asynchronous one, for callers that block in threads.

It does not run an event loop in a thread: that costs ten times as much per chunk, and could not use the transport of
the caller's SDK client.
"""

import time
from collections.abc import Iterator
from functools import partial
from types import TracebackType
from typing import Any, Self

import httpx2
from openai import OpenAI

from streamcanary.client.core.call import READING, Call, CallState
from streamcanary.client.core.request import PreparedCall
from streamcanary.client.core.routes import Routes
from streamcanary.client.drivers.base_stream import MAX_DRAIN_BYTES, MAX_DRAIN_PIECES, BaseStream
from streamcanary.client.drivers.request_capture import RequestCapture
from streamcanary.client.drivers.request_trace import observer_of, trace_response
from streamcanary.client.drivers.sending import send_sync
from streamcanary.client.drivers.socket_timer import SocketTimer, socket_of
from streamcanary.events import Event
from streamcanary.transport.connections import is_reusable
from streamcanary.transport.response_head import HeadGuard

_READ_TIMEOUT_MARGIN = 10.0  # seconds by which the transport's read timeout exceeds the total timeout
_DRAIN_TIMEOUT = 0.1  # seconds to read the rest of a complete answer's body, so that its connection can be reused


class Stream(BaseStream[OpenAI]):
    """The answer to one call, as a stream of events. A context manager: leaving it always closes the connection.

    Only one thread at a time may read it.
    """

    def __init__(self, routes: Routes[OpenAI], prepared: PreparedCall) -> None:
        super().__init__(routes, prepared)
        self._body: Iterator[bytes] = iter(())
        self._timer = SocketTimer(None)

    def until_done(self) -> None:
        """Read the stream to its end.

        Raises:
            StreamFailed: if the call fails.
        """
        for _ in self:
            pass

    def close(self) -> None:
        """Cancel the call if it has not ended, and close its connection. Idempotent."""
        if self._call is not None:
            self._call.cancel()
        self._close_response()

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        call = self._call or self._start()
        events = call.events
        if not events:
            if not self._begin_read(call):
                raise StopIteration
            try:
                while not events:  # the end of a call always adds one
                    self._read(call) if call.state is READING else self._open(call)
            except BaseException:  # interrupted, or a programming error: close the connection and re-raise
                call.cancel()
                self._close_response()
                raise
            finally:
                self._read_lock.release()
        event = events.popleft()
        if not events:
            self._caller_since = self._now()  # until the next read
        return event

    def __del__(self) -> None:
        # An abandoned stream still ends its spans and closes its connection.
        if getattr(self, "_call", None) is not None:
            self.close()

    def _open(self, call: Call) -> None:
        """Wait for the next attempt, or send its request."""
        if call.state is CallState.SENDING:
            self._send_request(call)
        else:
            time.sleep(max(0.0, call.next_attempt_at - self._now()))
            call.start_attempt()
        if call.state is not READING:
            self._close_response()

    def _send_request(self, call: Call) -> None:
        deadline = call.deadline
        remaining = max(0.001, deadline - self._now())
        connect = min(remaining, call.route.timeouts.connect)
        http_timeout = httpx2.Timeout(remaining, connect=connect, pool=connect)
        request = self._routes.sdk_request(self._prepared, call.route)
        self._timer = SocketTimer(None)
        observe = partial(observer_of, trace=call.trace, now=self._now)
        on_headers = partial(trace_response, trace=call.trace)
        guard = HeadGuard(partial(self._arm_timer, deadline))
        capture = RequestCapture(deadline, observe, on_headers, guard=guard, sdk_request=request)
        try:
            with capture:
                response = send_sync(request, http_timeout)
        except Exception as error:  # noqa: BLE001 - classified by the call, which raises what is not of the network
            lateness = self._timer.lateness
            self._timer.close()
            self._request_failed(call, capture, None if self._now() >= deadline else error, lambda _: lateness)
            return
        self._response, self._body = response, capture.iter_body(response)
        self._timer.disarm()
        if self._timer.is_closed:
            self._timer = SocketTimer(socket_of(response))
        # From here on only SocketTimer applies. The transport reads this value when it starts to read the body.
        response.request.extensions.get("timeout", {})["read"] = (
            self._routes.options.timeouts.total + _READ_TIMEOUT_MARGIN
        )
        self._headers_received(call, capture, response)

    def _arm_timer(self, deadline: float, stream: Any) -> None:
        """Shut the connection down at ``deadline``: the timeouts of the transport restart with every byte."""
        self._timer.close()
        self._timer = SocketTimer(stream.get_extra_info("socket"))
        self._timer.arm(deadline)

    def _read(self, call: Call) -> None:
        """Pass what arrives next to the call."""
        timer = self._timer
        timer.arm(call.deadline)
        try:
            data = next(self._body, None)
        except Exception as error:  # noqa: BLE001 - classified by the call, which raises what is not of the network
            self._deadline_exceeded(call) if timer.disarm() else call.connection_lost(error)
        else:
            if timer.disarm():
                self._deadline_exceeded(call)
            elif data is None:
                call.feed_eof()
            else:
                call.feed(data)
        if call.state is not READING:
            self._close_response(drain=call.result is not None)

    def _deadline_exceeded(self, call: Call) -> None:
        lateness = self._timer.lateness
        call.deadline_exceeded(lag_since=lambda _: lateness)

    def _close_response(self, *, drain: bool = False) -> None:
        """Close the connection; with ``drain``, first read the body to its end so that the connection is reused."""
        response, self._response = self._response, None
        if response is None:
            return
        try:
            if drain and not response.is_closed and is_reusable(response):
                self._timer.arm(time.monotonic() + _DRAIN_TIMEOUT)
                size = 0
                for count, data in enumerate(self._body, 1):
                    size += len(data)
                    if size > MAX_DRAIN_BYTES or count >= MAX_DRAIN_PIECES:
                        break
        except Exception:  # noqa: BLE001, S110 - the answer is complete; later errors do not matter
            pass
        finally:
            self._timer.close()
            response.close()
