"""One interface to both drivers, so that a test is written once for both."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, NamedTuple

from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI

from streamcanary import AsyncStreamClient, RetryPolicy, StreamClient, StreamFailed, StreamResult
from streamcanary.events import ContentDelta, Event, Restarted

Driver = Literal["async", "sync"]
DRIVERS: Final[tuple[Driver, ...]] = ("async", "sync")
KEY: Final = "sk-test-key-of-no-worth"
CHAT_REQUEST: Final[dict[str, Any]] = {"messages": [{"role": "user", "content": "Reply with the single word pong."}]}
RETRY: Final = RetryPolicy(max_attempts=2, base_delay=0.001, max_delay=0.001)


class RecordedStream(NamedTuple):
    """The events of a stream, and its result or failure."""

    events: list[Event]
    result: StreamResult | None
    failure: StreamFailed | None

    @property
    def types(self) -> list[str]:
        """The event types, with consecutive repetitions removed."""
        types = [event.type for event in self.events]
        return [kind for kind, before in zip(types, [None, *types], strict=False) if kind != before]

    @property
    def text(self) -> str:
        """The text as a caller assembles it: a ``Restarted`` event discards what was delivered before it."""
        pieces: list[str] = []
        for event in self.events:
            if isinstance(event, ContentDelta):
                pieces.append(event.delta)
            elif isinstance(event, Restarted):
                pieces.clear()
        return "".join(pieces)


class DriverClient:
    """An async interface to a stream client of either kind; a synchronous client runs in a thread."""

    def __init__(self, client: AsyncStreamClient | StreamClient) -> None:
        self.client = client

    def with_options(self, **changes: Any) -> "DriverClient":
        """Return a client that differs in ``changes``."""
        return DriverClient(self.client.with_options(**changes))

    async def complete(self, model: str, **more: Any) -> StreamResult:
        """Return the answer to :data:`CHAT_REQUEST`, or raise what the client raises."""
        request = {"model": model, **CHAT_REQUEST, **more}
        if isinstance(self.client, AsyncStreamClient):
            return await self.client.complete(**request)
        return await asyncio.to_thread(self.client.complete, **request)

    async def record_stream(self, model: str, **more: Any) -> RecordedStream:
        """Return the events and the result or failure of a stream."""
        request = {"model": model, **CHAT_REQUEST, **more}
        events: list[Event] = []
        if isinstance(self.client, AsyncStreamClient):
            try:
                async with self.client.stream(**request) as stream:
                    async for event in stream:
                        events.append(event)  # noqa: PERF401 - keeps the events before a failure
            except StreamFailed as failure:
                return RecordedStream(events, None, failure)
            return RecordedStream(events, stream.result, None)
        return await asyncio.to_thread(_record_stream, self.client, request)


def _record_stream(client: StreamClient, request: dict[str, Any]) -> RecordedStream:
    events: list[Event] = []
    try:
        with client.stream(**request) as stream:
            for event in stream:
                events.append(event)  # noqa: PERF402 - keeps the events before a failure
    except StreamFailed as failure:
        return RecordedStream(events, None, failure)
    return RecordedStream(events, stream.result, None)


@asynccontextmanager
async def open_sdk_client(driver: Driver, base_url: str) -> AsyncIterator[Any]:
    """Yield an SDK client for ``driver``, and close it on exit."""
    if driver == "async":
        transport = DefaultAsyncHttpxClient(trust_env=False)
        async with AsyncOpenAI(base_url=base_url, api_key=KEY, http_client=transport) as sdk:
            yield sdk
    else:
        blocking = DefaultHttpxClient(trust_env=False)
        with OpenAI(base_url=base_url, api_key=KEY, http_client=blocking) as sdk:
            yield sdk


def driver_client(driver: Driver, sdk: Any, **options: Any) -> DriverClient:
    """Return a stream client on ``sdk`` with two attempts and almost no delay, unless ``options`` override it."""
    make: Callable[..., AsyncStreamClient | StreamClient] = AsyncStreamClient if driver == "async" else StreamClient
    return DriverClient(make(sdk, **{"retry": RETRY, **options}))
