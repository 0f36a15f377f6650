"""The synchronous driver: the same state machine, for callers who wait in threads.

Not an event loop in a thread: that costs ten times as much a chunk, and could not use the caller's own transport.
"""

import random as _random
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

import httpx2
from openai import OpenAI

from streamcanary.client.attempt import ResponseHead
from streamcanary.client.breaker import BreakerPolicy
from streamcanary.client.budget import RetryBudget
from streamcanary.client.call import Call, OnPartial, State
from streamcanary.client.fallbacks import Fallback
from streamcanary.client.opening import Opening, watched_sync
from streamcanary.client.options import Asked, Options, given
from streamcanary.client.plan import OnFault
from streamcanary.client.policy import RetryPolicy, Timeouts
from streamcanary.client.request import shown_url
from streamcanary.client.result import StreamResult
from streamcanary.client.watchdog import SocketAlarm
from streamcanary.events import Event
from streamcanary.model.clock import Clock

if TYPE_CHECKING:
    from streamcanary.client.request import ChatArguments, ResponsesArguments

_READ_SLACK = 10.0  # seconds by which the transport's own clock is looser than ours while it reads a stream
_DRAIN = 0.1  # seconds that an answer which is whole may take to end its body, so that its connection can serve again


class StreamClient:
    """:class:`~streamcanary.client.aio.AsyncStreamClient`, synchronous, from an ``OpenAI``; usable from threads.

    Everything is the same but for ``await``. One clock is a little looser: before the headers have come it is the
    transport's, which starts anew with every byte of them.
    """

    def __init__(
        self,
        client: OpenAI,
        *,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        fallbacks: Iterable[Fallback] = (),
        on_partial: OnPartial = "restart",
        on: OnFault | None = None,
        budget: RetryBudget | None = None,
        breaker: BreakerPolicy | None = BreakerPolicy(),  # noqa: B008 - frozen
        provider: str = "openai",
        labels: Mapping[str, str] | None = None,
        lenient: bool = False,
        time_per_chunk: bool = False,
        secrets: Collection[str] = (),
        clock: Clock | None = None,
        random: _random.Random | None = None,
    ) -> None:
        self._options = Options(
            client,
            watched_sync,
            retry=retry,
            timeouts=timeouts,
            fallbacks=fallbacks,
            on_partial=on_partial,
            on=on,
            budget=budget,
            breaker=breaker,
            provider=provider,
            labels=labels,
            lenient=lenient,
            time_per_chunk=time_per_chunk,
            secrets=secrets,
            clock=clock,
            random=random,
        )

    @property
    def budget(self) -> RetryBudget:
        """The tokens that are left for retries."""
        return self._options.budget

    def with_options(
        self,
        *,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        fallbacks: Iterable[Fallback] | None = None,
        on_partial: OnPartial | None = None,
        on: OnFault | None = None,
        labels: Mapping[str, str] | None = None,
        lenient: bool | None = None,
    ) -> "StreamClient":
        """Return a client that differs in what is given, and shares transport, budget, breakers and cache."""
        changes = given(
            retry=retry,
            timeouts=timeouts,
            fallbacks=fallbacks,
            on_partial=on_partial,
            on=on,
            labels=labels,
            lenient=lenient,
        )
        client = StreamClient.__new__(StreamClient)
        client._options = self._options.changed(**changes)
        return client

    @overload
    def stream(self, **arguments: "Unpack[ChatArguments]") -> "Stream": ...

    @overload
    def stream(self, **arguments: "Unpack[ResponsesArguments]") -> "Stream": ...

    def stream(self, **arguments: Any) -> "Stream":
        """Return a stream of the answer, as :meth:`AsyncStreamClient.stream` does."""
        return Stream(self._options, self._options.ask(arguments))

    @overload
    def complete(self, **arguments: "Unpack[ChatArguments]") -> StreamResult: ...

    @overload
    def complete(self, **arguments: "Unpack[ResponsesArguments]") -> StreamResult: ...

    def complete(self, **arguments: Any) -> StreamResult:
        """Stream the answer, and return it when it is whole.

        Raises:
            StreamFailed: if no attempt gave a whole answer.
            TypeError: as :meth:`stream`.
        """
        with self.stream(**arguments) as stream:
            stream.until_done()
            return stream.result


class Stream:
    """The answer to one call, event by event. A context manager: leaving it closes the connection on every path.

    It is read by one thread at a time.
    """

    def __init__(self, options: Options[OpenAI], asked: Asked) -> None:
        self._options = options
        self._asked = asked
        self._now = options.clock.monotonic
        self._call: Call | None = None
        self._response: httpx2.Response | None = None
        self._body: Iterator[bytes] = iter(())
        self._handed_over: float | None = None
        self._reading = threading.Lock()

    @property
    def result(self) -> StreamResult:
        """The whole answer.

        Raises:
            StreamFailed: if the stream has failed.
            RuntimeError: before the end, or if the stream was left before it.
        """
        call = self._call
        if call is not None and call.failure is not None:
            raise call.failure
        if call is None or call.result is None:
            raise RuntimeError("the stream has no result yet: read it to its end, or call until_done()")
        return call.result

    def until_done(self) -> None:
        """Read the rest of the stream; raises :class:`StreamFailed` as reading does."""
        for _ in self:
            pass

    def close(self) -> None:
        """Leave the stream: what is under way is given up, and its connection closed. Twice does no harm."""
        if self._call is not None:
            self._call.abandon()
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
        if not call.events:
            if call.failure is not None:
                raise call.failure
            if call.state is State.ENDED:
                raise StopIteration
            if not self._reading.acquire(blocking=False):
                raise RuntimeError("the stream is already being read by another thread")
            try:
                if self._handed_over is not None:
                    call.paused(self._now() - self._handed_over)
                    self._handed_over = None
                self._read_on(call)
            finally:
                self._reading.release()
        event = call.events.popleft()
        if not call.events:
            self._handed_over = self._now()
        return event

    def __del__(self) -> None:
        # A forgotten stream still ends its spans and closes its connection.
        if getattr(self, "_call", None) is not None:
            self.close()

    def _start(self) -> Call:
        if self._call is None:
            self._call = self._options.begin(self._asked)
        return self._call

    def _read_on(self, call: Call) -> None:
        """Work until there is an event to hand over; the last event of a call comes with its end."""
        try:
            while not call.events:
                if call.state is State.READING:
                    self._read(call)
                elif call.state is State.OPENING:
                    self._open(call)
                else:
                    time.sleep(max(0.0, call.resume_at - self._now()))
                    call.start()
                if call.state is not State.READING and self._response is not None:
                    self._close_response(drain=call.result is not None)
        except BaseException:  # interrupted, or a programming error: it goes on to the caller, the connection does not
            call.abandon()
            self._close_response()
            raise

    def _open(self, call: Call) -> None:
        leg, request = call.leg, self._asked.requests[call.leg.index] or self._asked.own
        client = self._options.clients[leg.index]
        api = client.chat.completions if request.api == "chat" else client.responses
        create: Any = api.with_streaming_response.create
        streamed = {"stream": True} if leg.kind == "stream" else {}
        deadline = call.deadline
        patience = max(0.001, deadline - self._now())
        transport = httpx2.Timeout(patience, connect=min(patience, leg.timeouts.connect))
        try:
            with Opening() as opening:
                response = create(**request.arguments, **streamed, timeout=transport).__enter__().http_response
        except Exception as error:  # noqa: BLE001 - classified by the call, which raises what is not of the network
            call.sent(opening.credentials, opening.url)
            call.struck(opening.head) if self._now() >= deadline else call.broke(error)
            return
        call.sent(opening.credentials)
        self._response = response
        self._alarm = SocketAlarm(_socket_of(response))
        # From here on our own clocks count; the transport reads its own anew when it begins to read the body.
        response.request.extensions.get("timeout", {})["read"] = self._options.timeouts.total + _READ_SLACK
        self._body = response.iter_bytes()
        url = shown_url(response.request.url)
        call.headers(ResponseHead(response.status_code, response.headers, url, bool(response.history)))

    def _read(self, call: Call) -> None:
        alarm = self._alarm
        alarm.arm(call.deadline)
        try:
            data = next(self._body, None)
        except Exception as error:  # noqa: BLE001 - classified by the call, which raises what is not of the network
            alarm.disarm()
            call.struck() if alarm.rang() else call.broke(error)
            return
        alarm.disarm()
        if alarm.rang():
            call.struck()
        elif data is None:
            call.eof()
        else:
            call.feed(data)

    def _close_response(self, *, drain: bool = False) -> None:
        """Close the connection; when the answer is whole, read its end first, so that it can serve the next call."""
        response, self._response = self._response, None
        if response is None:
            return
        try:
            if drain and not response.is_closed:
                self._alarm.arm(time.monotonic() + _DRAIN)
                for _ in self._body:
                    pass
        except Exception:  # noqa: BLE001, S110 - the answer is whole: how its connection ends is no longer of interest
            pass
        finally:
            self._alarm.close()
            response.close()


def _socket_of(response: httpx2.Response) -> Any:
    """Return the socket that a response is read from, or ``None`` if the transport does not show it."""
    stream = response.extensions.get("network_stream")
    return stream.get_extra_info("socket") if stream is not None else None
