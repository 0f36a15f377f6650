"""The asynchronous stream: does the I/O (send, wait, read) that the state machine of the call requests."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self

import httpx2
from openai import AsyncOpenAI

from streamcanary.client.core.call import ENDED, READING, Call, CallState
from streamcanary.client.core.request import PreparedCall
from streamcanary.client.core.routes import Routes
from streamcanary.client.drivers.base_stream import MAX_DRAIN_BYTES, MAX_DRAIN_PIECES, BaseStream
from streamcanary.client.drivers.loop_lag import LoopLag
from streamcanary.client.drivers.loop_share import MAX_FEED, FloodWork, LoopShare
from streamcanary.client.drivers.request_capture import RequestCapture
from streamcanary.client.drivers.request_trace import observer_of, trace_response
from streamcanary.client.drivers.sending import send_async
from streamcanary.client.drivers.task_timer import TaskTimer
from streamcanary.events import Event
from streamcanary.transport.connections import closes_at_once, is_reusable

_DRAIN_TIMEOUT = 0.1  # seconds to read the rest of a complete answer's body, so that its connection can be reused


class AsyncStream(BaseStream[AsyncOpenAI]):
    """The answer to one call, as a stream of events. A context manager: leaving it always closes the connection."""

    def __init__(self, routes: Routes[AsyncOpenAI], prepared: PreparedCall) -> None:
        super().__init__(routes, prepared)
        self._body: AsyncIterator[bytes] = _empty_body()
        self._unread = b""  # received, but not parsed yet

    async def until_done(self) -> None:
        """Read the stream to its end.

        Raises:
            StreamFailed: if the call fails.
        """
        async for _ in self:
            pass

    async def close(self) -> None:
        """Cancel the call if it has not ended, and close its connection. Idempotent."""
        if self._call is not None:
            self._call.cancel()
            await self._close_response()

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        call = self._call or self._start()
        events = call.events
        if not events:
            if not self._begin_read(call):
                raise StopAsyncIteration
            try:
                while not events:  # the end of a call always adds one
                    await (self._read(call) if call.state is READING else self._open(call))
            except BaseException:  # cancelled, or a programming error: close the connection and re-raise
                call.cancel()
                await self._close_response()
                raise
            finally:
                self._read_lock.release()
        event = events.popleft()
        if not events:
            self._caller_since = self._now()  # until the next read
        return event

    def __del__(self) -> None:
        # An abandoned stream still ends its spans; garbage collection of the response closes its connection.
        if getattr(self, "_call", None) is not None:
            self._call.cancel()  # type: ignore[union-attr] # checked above

    def _start(self) -> Call:
        if self._call is None:
            self._loop_lag = LoopLag.of_running_loop()
            self._loop_lag.observe(self)
            flood = FloodWork.of_running_loop(self._routes.primary_endpoint)
            self._loop_share = LoopShare(self._routes.options.max_loop_share, time.monotonic, flood)
            call = super()._start()
            lag_since = self._lag_since = partial(_lag_of_process, self._loop_lag, self._loop_share, call)
            # The timer must not refer to the stream: the loop refers to the timer, and a dropped stream is collected.
            self._timer = TaskTimer(lambda: call.extend_deadline(lag_since))
            self._deadline = lambda: call.deadline
        return super()._start()

    async def _open(self, call: Call) -> None:
        """Wait for the next attempt, or send its request."""
        if call.state is CallState.SENDING:
            await self._send_request(call)
        else:
            await asyncio.sleep(call.next_attempt_at - self._now())
            call.start_attempt()
        if call.state is not READING and call.state is not CallState.SENDING:
            await self._close_response()

    async def _send_request(self, call: Call) -> None:
        timeouts = call.route.timeouts
        http_timeout = httpx2.Timeout(
            read=None,  # TaskTimer limits each read and write; a second timer is not needed
            write=None,
            connect=timeouts.connect,
            pool=timeouts.connect,
        )
        request = self._routes.sdk_request(self._prepared, call.route)
        observe = partial(observer_of, trace=call.trace, now=self._now)
        on_headers = partial(trace_response, trace=call.trace)
        timer = self._timer
        capture = RequestCapture(
            observe=observe, on_headers=on_headers, loop_share=self._loop_share, sdk_request=request
        )
        try:
            with capture:
                response = await timer.limit(send_async(request, http_timeout), self._deadline)
        except asyncio.CancelledError:
            if not timer.pop_expired():
                raise
            self._request_failed(call, capture, lag_since=self._lag_since)
        except Exception as error:  # noqa: BLE001 - classified by the call, which raises what is not of the network
            self._request_failed(call, capture, None if timer.pop_expired() else error, self._lag_since)
        else:
            self._response, self._body = response, capture.aiter_body(response)
            self._headers_received(call, capture, response)

    async def _yield(self, call: Call, seconds: float) -> None:
        """Let other tasks run; a flood of data must not keep a deadline from being noticed."""
        await asyncio.sleep(seconds)
        if self._now() >= call.deadline and call.extend_deadline(self._lag_since) is None:
            call.deadline_exceeded(lag_since=self._lag_since)

    def _feed(self, call: Call, data: bytes) -> None:
        """Pass data to the call, up to :data:`MAX_FEED` bytes at once; the rest is next."""
        started = time.perf_counter()
        if len(data) > MAX_FEED:
            self._unread, data = data[MAX_FEED:], data[:MAX_FEED]
        elif self._unread:
            self._unread = b""
        call.feed(data)
        self._loop_share.add_read(time.perf_counter() - started)

    async def _read(self, call: Call) -> None:
        """Pass what arrives next to the call, unless other tasks have to run first."""
        if self._loop_share.is_exceeded and (pause := self._loop_share.pause()) is not None:
            await self._yield(call, pause)
        elif self._unread:
            self._feed(call, self._unread)
        else:
            timer = self._timer
            try:
                data = await timer.limit(anext(self._body), self._deadline)
            except StopAsyncIteration:
                call.feed_eof()
            except asyncio.CancelledError:
                if not timer.pop_expired():
                    raise
                call.deadline_exceeded(lag_since=self._lag_since)
            except Exception as error:  # noqa: BLE001 - classified by the call, which raises what is not of the network
                if timer.pop_expired():
                    call.deadline_exceeded(lag_since=self._lag_since)
                else:
                    call.connection_lost(error)
            else:
                self._feed(call, data)
        if call.state is not READING:
            await self._close_response(drain=call.result is not None)

    async def _close_response(self, *, drain: bool = False) -> None:
        """Close the connection; with ``drain``, first read the body to its end so that the connection is reused."""
        response, self._response, self._unread = self._response, None, b""
        if self._call is not None and self._call.state is ENDED:
            self._loop_lag.release(self)
        try:
            if drain and response is not None and not response.is_closed and is_reusable(response):
                await self._drain(response)
        finally:
            self._timer.close()
            if response is not None:
                await self._close(response)

    async def _close(self, response: httpx2.Response) -> None:
        if not response.is_closed:
            closing = response.aclose()
            await (closing if closes_at_once(response) else asyncio.shield(closing))
        if isinstance(self._body, AsyncGenerator):  # else the event loop would close it, in a task of its own
            with suppress(RuntimeError):  # it is being read by another task
                await self._body.aclose()

    async def _drain(self, response: httpx2.Response) -> None:
        try:
            await self._timer.limit(
                self._read_rest(response), lambda: asyncio.get_running_loop().time() + _DRAIN_TIMEOUT
            )
        except asyncio.CancelledError:
            if not self._timer.pop_expired():
                raise
        except Exception:  # noqa: BLE001 - the answer is complete; later errors do not matter
            self._timer.pop_expired()

    async def _read_rest(self, response: httpx2.Response) -> None:
        size = count = 0
        async for data in self._body:
            size, count = size + len(data), count + 1
            if size > MAX_DRAIN_BYTES or count >= MAX_DRAIN_PIECES:
                return
        await response.aclose()  # gives the connection back


def _lag_of_process(lag: LoopLag, share: LoopShare, call: Call, start: float) -> float:
    """Return the lag after ``start`` that the endpoint has not caused itself, in seconds."""
    chunks = 0 if call.machine is None else call.machine.answer.chunks
    return share.lag_of_process(lag.since(start), start, chunks)


async def _empty_body() -> AsyncIterator[bytes]:
    """Yield nothing: the body before a response has arrived."""
    no_data: tuple[bytes, ...] = ()
    for piece in no_data:
        yield piece
