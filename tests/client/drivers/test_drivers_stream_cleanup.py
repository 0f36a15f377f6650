"""Cleanup when a caller leaves a stream: connections and spans are closed, and the attempt is counted as cancelled."""

import asyncio
import gc
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from openai import DefaultHttpxClient, OpenAI

from streamcanary import AsyncStreamClient, Fault, StreamFailed, Timeouts
from streamcanary.canary.targets.openai_client import open_client
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.events import AttemptStarted, Completed, ContentDelta
from streamcanary.simulator import Simulator
from streamcanary.transport.connections import ConnectionMode
from support.client.drivers import CHAT_REQUEST, DRIVERS, KEY, Driver, DriverClient, driver_client, open_sdk_client
from support.servers.simulator import HANGING_TIMINGS, wait_until
from support.telemetry.in_memory import RecordedTelemetry

ANSWER = "Pong! The canary sings."
CLOCKS = Timeouts(first_token=0.3, stall=0.3)

every_driver = pytest.mark.parametrize("driver", DRIVERS)


def wait_long(fault: Fault) -> float:
    """Delay the next attempt beyond the duration of any test."""
    return 60.0


@pytest.fixture
async def provider() -> AsyncIterator[Simulator]:
    async with Simulator(timings=HANGING_TIMINGS) as provider:
        yield provider


@asynccontextmanager
async def ask(driver: Driver, provider: Simulator, **options: Any) -> AsyncIterator[DriverClient]:
    async with open_sdk_client(driver, provider.base_url) as sdk:
        yield driver_client(driver, sdk, **{"timeouts": CLOCKS, **options})


class MetricChanges:
    """Changes of the stream metrics since the object was created, and the spans that have ended."""

    def __init__(self, recorded: RecordedTelemetry) -> None:
        self._recorded = recorded
        self._before = self._count()

    def _count(self) -> tuple[float, ...]:
        value = self._recorded.value
        return (
            value("streamcanary.streams.active"),
            value("streamcanary.attempts", outcome="cancelled"),
            value("streamcanary.attempts") - value("streamcanary.attempts", outcome="cancelled"),
            value("streamcanary.attempt.duration"),
            value("gen_ai.client.operation.duration"),
        )

    @property
    def changes(self) -> tuple[float, ...]:
        """The changes of active streams, cancelled attempts, other attempts, timed attempts and timed calls."""
        return tuple(after - before for after, before in zip(self._count(), self._before, strict=True))

    @property
    def spans(self) -> list[tuple[str, str]]:
        """The name and status of each span that has ended."""
        return [(span.name.split()[0], span.status.status_code.name) for span in self._recorded.spans]


@pytest.fixture
def metric_changes(recorded: RecordedTelemetry) -> MetricChanges:
    return MetricChanges(recorded)


EXIT_POINTS = [
    ("nothing", "sim-ok", [("chat", "UNSET")], (0, 0, 0, 0, 0)),
    ("attempt.started", "sim-ok", [("POST", "UNSET"), ("chat", "UNSET")], (0, 1, 0, 0, 0)),
    ("content.delta", "sim-stall", [("POST", "UNSET"), ("chat", "UNSET")], (0, 1, 0, 0, 0)),
    ("attempt.failed", "sim-cut", [("POST", "ERROR"), ("chat", "UNSET")], (0, 0, 1, 1, 0)),
    ("completed", "sim-ok", [("POST", "UNSET"), ("chat", "UNSET")], (0, 0, 1, 1, 1)),
]
"""The event after which the caller leaves, the spans that end, and the counts: a cancelled attempt is never timed."""


@every_driver
@pytest.mark.parametrize("exit_mode", ["break", "raise", "drop"])
@pytest.mark.parametrize(("after", "model", "spans", "counted"), EXIT_POINTS)
async def test_leaving_between_events_closes_the_stream(
    provider: Simulator,
    metric_changes: MetricChanges,
    driver: Driver,
    exit_mode: str,
    after: str,
    model: str,
    spans: list[tuple[str, str]],
    counted: tuple[float, ...],
) -> None:
    """A caller who breaks, raises or drops the stream ends every span and leaves no connection open."""
    async with ask(driver, provider, on=wait_long) as client:
        if driver == "async":
            await _leave_async(client, model, after, exit_mode)
        else:
            await asyncio.to_thread(_leave_sync, client, model, after, exit_mode)
        gc.collect()
        if after != "completed":  # a completed stream returns its connection to the pool
            await wait_until(lambda: provider.connection_count == 0)
    assert (spans, counted) == (metric_changes.spans, metric_changes.changes)


async def _leave_async(client: DriverClient, model: str, after: str, exit_mode: str) -> None:
    stream: Any = client.client.stream(model=model, **CHAT_REQUEST)
    if exit_mode == "drop":
        stream._start()
        while after != "nothing" and (await anext(stream)).type != after:
            pass
        return
    with pytest.raises(ZeroDivisionError) if exit_mode == "raise" else _no_error():
        async with stream:
            while after != "nothing" and (await anext(stream)).type != after:
                pass
            if exit_mode == "raise":
                raise ZeroDivisionError


def _leave_sync(client: DriverClient, model: str, after: str, exit_mode: str) -> None:
    stream: Any = client.client.stream(model=model, **CHAT_REQUEST)
    if exit_mode == "drop":
        stream._start()
        while after != "nothing" and next(stream).type != after:
            pass
        return
    with pytest.raises(ZeroDivisionError) if exit_mode == "raise" else _no_error(), stream:
        while after != "nothing" and next(stream).type != after:
            pass
        if exit_mode == "raise":
            raise ZeroDivisionError


@contextmanager
def _no_error() -> Iterator[None]:
    yield


WAITING = [
    ("sim-no-headers", [("POST", "UNSET"), ("chat", "UNSET")], (0, 1, 0, 0, 0)),
    ("sim-5xx-stalled-body", [("POST", "UNSET"), ("chat", "UNSET")], (0, 1, 0, 0, 0)),
    ("sim-pings", [("POST", "UNSET"), ("chat", "UNSET")], (0, 1, 0, 0, 0)),
    ("sim-stall", [("POST", "UNSET"), ("chat", "UNSET")], (0, 1, 0, 0, 0)),
    ("sim-500", [("POST", "ERROR"), ("chat", "UNSET")], (0, 0, 1, 1, 0)),
]
"""What the caller waits for: headers, an error body, the first token, the next token, the next attempt."""


@pytest.mark.parametrize(("model", "spans", "counted"), WAITING)
async def test_cancellation_while_waiting_closes_the_stream(
    provider: Simulator,
    metric_changes: MetricChanges,
    model: str,
    spans: list[tuple[str, str]],
    counted: tuple[float, ...],
) -> None:
    """A cancellation propagates at once from every wait, and leaves nothing open."""
    async with ask("async", provider, on=wait_long, timeouts=Timeouts()) as client:
        task = asyncio.create_task(client.complete(model))
        await wait_until(lambda: len(provider.requests) == 1)
        await asyncio.sleep(0.1)  # until the call waits
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_until(lambda: provider.connection_count == 0 or model == "sim-500")
    assert (spans, counted) == (metric_changes.spans, metric_changes.changes)


class Interrupted(BaseException):
    """The exception of the signal handler, in place of KeyboardInterrupt."""


@pytest.mark.parametrize(("model", "spans", "counted"), WAITING)
def test_signal_while_waiting_closes_the_stream(
    recorded: RecordedTelemetry, model: str, spans: list[tuple[str, str]], counted: tuple[float, ...]
) -> None:
    """An exception from a signal handler propagates from the synchronous client, and leaves nothing open."""
    metric_changes = MetricChanges(recorded)
    main = threading.get_ident()
    with _simulator_thread() as provider, _interruptible():

        def interrupt() -> None:
            while not provider.requests:
                time.sleep(0.005)
            time.sleep(0.1)
            signal.pthread_kill(main, signal.SIGUSR1)

        with _sync_client(provider) as client:
            thread = threading.Thread(target=interrupt)
            thread.start()
            with pytest.raises(Interrupted):
                try:
                    client.client.complete(model=model, **CHAT_REQUEST)
                finally:
                    thread.join()  # the signal must arrive while the handler is installed
            deadline = time.monotonic() + 10
            while provider.connection_count and model != "sim-500":
                assert time.monotonic() < deadline
                time.sleep(0.005)
    assert (spans, counted) == (metric_changes.spans, metric_changes.changes)


@contextmanager
def _interruptible() -> Iterator[None]:
    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


@contextmanager
def _simulator_thread() -> Iterator[Simulator]:
    """Yield a simulator that runs in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    simulator = Simulator(timings=HANGING_TIMINGS)
    try:
        asyncio.run_coroutine_threadsafe(simulator.start(), loop).result(10)
        yield simulator
        asyncio.run_coroutine_threadsafe(simulator.close(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def _sync_client(provider: Simulator) -> Iterator[DriverClient]:
    blocking = DefaultHttpxClient(trust_env=False)
    with OpenAI(base_url=provider.base_url, api_key=KEY, http_client=blocking) as sdk:
        yield driver_client("sync", sdk, on=wait_long, timeouts=Timeouts())


@every_driver
async def test_closed_stream_is_exhausted(provider: Simulator, driver: Driver) -> None:
    """Closing a stream again does nothing, reading it yields no event, and it has no result."""
    async with ask(driver, provider) as client:
        stream: Any = client.client.stream(model="sim-stall", **CHAT_REQUEST)

        def read() -> list[Any]:
            with stream:
                first = next(stream)
            stream.close()
            return [first, *stream]

        if driver == "sync":
            events = await asyncio.to_thread(read)
        else:
            async with stream:
                events = [await anext(stream)]
            await stream.close()
            events += [event async for event in stream]
        with pytest.raises(RuntimeError, match="no result"):
            _ = stream.result
    assert [AttemptStarted(1, "sim-stall")] == events


@every_driver
async def test_reading_continues_after_a_break(provider: Simulator, driver: Driver) -> None:
    """A loop over a stream may break and continue within its block without losing or repeating an event."""
    async with ask(driver, provider) as client:
        stream: Any = client.client.stream(model="sim-ok", **CHAT_REQUEST)
        events: list[Any] = []

        def read() -> None:
            with stream:
                for event in stream:
                    events.append(event)
                    if isinstance(event, ContentDelta):
                        break
                events.extend(stream)

        if driver == "sync":
            await asyncio.to_thread(read)
        else:
            async with stream:
                async for event in stream:
                    events.append(event)
                    if isinstance(event, ContentDelta):
                        break
                events += [event async for event in stream]
        text = "".join(event.delta for event in events if isinstance(event, ContentDelta))
    assert (ANSWER, ANSWER, Completed) == (text, stream.result.text, type(events[-1]))


@every_driver
async def test_failed_stream_raises_the_same_failure(provider: Simulator, driver: Driver) -> None:
    """A failed stream raises the same failure on every further read and for its result."""
    async with ask(driver, provider) as client:
        stream: Any = client.client.stream(model="sim-401", **CHAT_REQUEST)
        caught = []
        for _ in range(2):
            with pytest.raises(StreamFailed) as failure:
                await (stream.until_done() if driver == "async" else asyncio.to_thread(stream.until_done))
            caught.append(failure.value)
        with pytest.raises(StreamFailed) as failure:
            _ = stream.result
    assert True is (caught[0] is caught[1] is failure.value)


@contextmanager
def left_to_the_event_loop() -> Iterator[list[str]]:
    """Yield what the current task leaves to the event loop: the tasks that it creates, and generators to close."""
    left: list[str] = []
    loop, task, hooks = asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks()
    create = loop.create_task

    def create_task(coroutine: Any, **options: Any) -> Any:
        if asyncio.current_task() is task:
            left.append(coroutine.__qualname__)
        return create(coroutine, **options)

    def finalize(generator: Any) -> None:
        left.append(generator.__qualname__)

    sys.set_asyncgen_hooks(finalizer=finalize)
    loop.create_task = create_task  # type: ignore[method-assign, assignment]
    try:
        yield left
        gc.collect()
    finally:
        loop.create_task = create  # type: ignore[method-assign]
        sys.set_asyncgen_hooks(*hooks)


@pytest.mark.parametrize("connection", ["new", "reuse"])
async def test_stream_of_a_canary_leaves_nothing_to_the_event_loop(
    connection: ConnectionMode, provider: Simulator
) -> None:
    """Neither the body nor the connection of a finished stream is closed later, in a task of its own."""
    target = TargetSpec.model_validate({"base_url": provider.base_url, "api_key": KEY})
    async with open_client(target, connection) as sdk:
        client = AsyncStreamClient(sdk)
        with left_to_the_event_loop() as left:
            for _ in range(2):
                await client.complete(model="sim-ok", messages=[{"role": "user", "content": "ping"}])
    assert [] == left
