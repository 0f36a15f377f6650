"""The asynchronous driver: it sends, waits and reads what the state machine of the call asks for, and nothing more."""

import asyncio
import random as _random
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

import httpx2
from openai import AsyncOpenAI

from streamcanary.client.alarm import Alarm
from streamcanary.client.attempt import ResponseHead
from streamcanary.client.breaker import BreakerPolicy
from streamcanary.client.budget import RetryBudget
from streamcanary.client.call import Call, OnPartial, State
from streamcanary.client.fallbacks import Fallback
from streamcanary.client.opening import Opening, watched_async
from streamcanary.client.options import Asked, Options, given
from streamcanary.client.plan import OnFault
from streamcanary.client.policy import RetryPolicy, Timeouts
from streamcanary.client.request import shown_url
from streamcanary.client.result import StreamResult
from streamcanary.events import Event
from streamcanary.model.clock import Clock

if TYPE_CHECKING:
    from streamcanary.client.request import ChatArguments, ResponsesArguments

_WRITE_SLACK = 10.0  # seconds by which the transport's own clock is looser than ours, which are the ones that count
_DRAIN = 0.1  # seconds that an answer which is whole may take to end its body, so that its connection can serve again


class AsyncStreamClient:
    """Streams answers, and turns every failure into one of two things: a complete answer or a typed fault.

    Takes an ``AsyncOpenAI`` (or a subclass, such as ``AsyncAzureOpenAI``); its own retries are switched off inside, its
    transport, keys and headers are used as they are.

    ``fallbacks`` are asked in order, once each, when the call's own route has failed. ``on_partial`` says what happens
    when an attempt fails after text was delivered: ``"restart"`` (a ``Restarted`` event voids it), ``"fail"``, or
    ``"buffer"`` (nothing is delivered until it is whole). ``on`` is asked about each fault of the own route, and may
    decide about its retry. ``budget`` bounds the retries of all calls together (by default one of 500 tokens),
    ``breaker`` keeps calls from a route that mostly fails (by default: the defaults of ``BreakerPolicy``; ``None`` for
    none). ``provider`` and ``labels`` go on spans and metrics. ``lenient`` accepts ``[DONE]`` in place of a
    ``finish_reason``, as some servers end. ``time_per_chunk`` records the time between chunks as
    ``gen_ai.client.operation.time_per_output_chunk`` (off by default: it costs almost as much as all else that is done
    for a chunk). ``secrets`` are scrubbed from every message, as keys and tokens are; they are looked at for each call.
    """

    def __init__(
        self,
        client: AsyncOpenAI,
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
            watched_async,
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
    ) -> "AsyncStreamClient":
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
        client = AsyncStreamClient.__new__(AsyncStreamClient)
        client._options = self._options.changed(**changes)
        return client

    @overload
    def stream(self, **arguments: "Unpack[ChatArguments]") -> "AsyncStream": ...

    @overload
    def stream(self, **arguments: "Unpack[ResponsesArguments]") -> "AsyncStream": ...

    def stream(self, **arguments: Any) -> "AsyncStream":
        """Return a stream of the answer to ``messages=`` (Chat Completions) or ``input=`` (Responses) by ``model=``.

        Other arguments go to the SDK untouched. Nothing is sent until the stream is entered or read.

        Raises:
            TypeError: if an argument is missing, unknown to the SDK, or set by this client: ``stream``, ``timeout``,
                ``n`` over 1, ``background``.
        """
        return AsyncStream(self._options, self._options.ask(arguments))

    @overload
    async def complete(self, **arguments: "Unpack[ChatArguments]") -> StreamResult: ...

    @overload
    async def complete(self, **arguments: "Unpack[ResponsesArguments]") -> StreamResult: ...

    async def complete(self, **arguments: Any) -> StreamResult:
        """Stream the answer, and return it when it is whole.

        Raises:
            StreamFailed: if no attempt gave a whole answer.
            TypeError: as :meth:`stream`.
        """
        async with self.stream(**arguments) as stream:
            await stream.until_done()
            return stream.result


class AsyncStream:
    """The answer to one call, event by event. A context manager: leaving it closes the connection on every path."""

    def __init__(self, options: Options[AsyncOpenAI], asked: Asked) -> None:
        self._options = options
        self._asked = asked
        self._now = options.clock.monotonic
        self._call: Call | None = None
        self._response: httpx2.Response | None = None
        self._body: AsyncIterator[bytes] = _nothing()
        self._handed_over: float | None = None
        self._reading = False

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
            raise RuntimeError("the stream has no result yet: read it to its end, or await until_done()")
        return call.result

    async def until_done(self) -> None:
        """Read the rest of the stream; raises :class:`StreamFailed` as reading does."""
        async for _ in self:
            pass

    async def close(self) -> None:
        """Leave the stream: what is under way is given up, and its connection closed. Twice does no harm."""
        if self._call is not None:
            self._call.abandon()
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
        if not call.events:
            if call.failure is not None:
                raise call.failure
            if call.state is State.ENDED:
                raise StopAsyncIteration
            if self._reading:
                raise RuntimeError("the stream is already being read by another task")
            self._reading = True
            try:
                if self._handed_over is not None:
                    call.paused(self._now() - self._handed_over)
                    self._handed_over = None
                await self._read_on(call)
            finally:
                self._reading = False
        event = call.events.popleft()
        if not call.events:
            self._handed_over = self._now()
        return event

    def __del__(self) -> None:
        # A forgotten stream still ends its spans; its connection goes with the response.
        if getattr(self, "_call", None) is not None:
            self._call.abandon()  # type: ignore[union-attr] # as was just seen

    def _start(self) -> Call:
        if self._call is None:
            self._alarm = Alarm()
            self._call = self._options.begin(self._asked)
        return self._call

    async def _read_on(self, call: Call) -> None:
        """Work until there is an event to hand over; the last event of a call comes with its end."""
        try:
            while not call.events:
                if call.state is State.READING:
                    await self._read(call, self._body)
                elif call.state is State.OPENING:
                    await self._open(call)
                else:
                    await asyncio.sleep(call.resume_at - self._now())
                    call.start()
                if call.state is State.WAITING or call.state is State.ENDED:
                    await self._close_response(drain=call.result is not None)
        except BaseException:  # cancelled, or a programming error: it goes on to the caller, the connection does not
            call.abandon()
            await self._close_response()
            raise

    async def _open(self, call: Call) -> None:
        leg, request = call.leg, self._asked.requests[call.leg.index] or self._asked.own
        client = self._options.clients[leg.index]
        api = client.chat.completions if request.api == "chat" else client.responses
        create: Any = api.with_streaming_response.create
        streamed = {"stream": True} if leg.kind == "stream" else {}
        clocks = leg.timeouts
        transport = httpx2.Timeout(
            read=None,  # each read has our own alarm, and needs no second timer
            write=self._options.timeouts.total + _WRITE_SLACK,
            connect=clocks.connect,
            pool=clocks.connect,
        )
        alarm, opening = self._alarm, Opening()
        try:
            alarm.arm(call.deadline)
            try:
                with opening:
                    manager = create(**request.arguments, **streamed, timeout=transport)
                    response = (await manager.__aenter__()).http_response
            finally:
                alarm.disarm()
        except asyncio.CancelledError:
            if not alarm.rang():
                raise
            call.sent(opening.credentials, opening.url)
            call.struck(opening.head)
            return
        except Exception as error:  # noqa: BLE001 - classified by the call, which raises what is not of the network
            call.sent(opening.credentials, opening.url)
            call.struck(opening.head) if alarm.rang() else call.broke(error)
            return
        call.sent(opening.credentials)
        self._response = response
        self._body = response.aiter_bytes()
        url = shown_url(response.request.url)
        call.headers(ResponseHead(response.status_code, response.headers, url, bool(response.history)))

    async def _read(self, call: Call, body: AsyncIterator[bytes]) -> None:
        alarm = self._alarm
        try:
            alarm.arm(call.deadline)
            try:
                data = await anext(body)
            finally:
                alarm.disarm()
        except StopAsyncIteration:
            call.eof()
        except asyncio.CancelledError:
            if not alarm.rang():
                raise
            call.struck()
        except Exception as error:  # noqa: BLE001 - classified by the call, which raises what is not of the network
            call.struck() if alarm.rang() else call.broke(error)
        else:
            call.feed(data)

    async def _close_response(self, *, drain: bool = False) -> None:
        """Close the connection; when the answer is whole, read its end first, so that it can serve the next call."""
        response, self._response = self._response, None
        try:
            if drain and response is not None and not response.is_closed:
                await self._drain()
        finally:
            self._alarm.close()
            if response is not None and not response.is_closed:
                await asyncio.shield(response.aclose())

    async def _drain(self) -> None:
        alarm = self._alarm
        try:
            alarm.arm(asyncio.get_running_loop().time() + _DRAIN)
            try:
                async for _ in self._body:
                    pass
            finally:
                alarm.disarm()
        except asyncio.CancelledError:
            if not alarm.rang():
                raise
        except Exception:  # noqa: BLE001 - the answer is whole: how its connection ends is no longer of interest
            alarm.rang()


async def _nothing() -> AsyncIterator[bytes]:
    """Stand for the body of an answer that has not come."""
    nothing: tuple[bytes, ...] = ()
    for piece in nothing:
        yield piece
