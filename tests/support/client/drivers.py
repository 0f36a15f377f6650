"""One of the two drivers behind one face, so that a test is written once for both."""

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
    """A stream as its caller has it in the end: what was heard, and what it says of itself."""

    events: list[Event]
    result: StreamResult | None
    failure: StreamFailed | None

    @property
    def types(self) -> list[str]:
        """The types of the events, a run of the same one counted once."""
        types = [event.type for event in self.events]
        return [kind for kind, before in zip(types, [None, *types], strict=False) if kind != before]

    @property
    def text(self) -> str:
        """The text as a caller puts it together: what was delivered before a ``Restarted`` is void."""
        pieces: list[str] = []
        for event in self.events:
            if isinstance(event, ContentDelta):
                pieces.append(event.delta)
            elif isinstance(event, Restarted):
                pieces.clear()
        return "".join(pieces)


class DriverClient:
    """A stream client of either kind; what it does is awaited, a synchronous one works in a thread."""

    def __init__(self, client: AsyncStreamClient | StreamClient) -> None:
        self.client = client

    def with_options(self, **changes: Any) -> "DriverClient":
        """Return one whose client differs in ``changes``."""
        return DriverClient(self.client.with_options(**changes))

    async def complete(self, model: str, **more: Any) -> StreamResult:
        """Return the answer to the usual question, or raise what the client raises."""
        question = {"model": model, **CHAT_REQUEST, **more}
        if isinstance(self.client, AsyncStreamClient):
            return await self.client.complete(**question)
        return await asyncio.to_thread(self.client.complete, **question)

    async def record_stream(self, model: str, **more: Any) -> RecordedStream:
        """Return all that a stream of the answer tells."""
        question = {"model": model, **CHAT_REQUEST, **more}
        events: list[Event] = []
        if isinstance(self.client, AsyncStreamClient):
            try:
                async with self.client.stream(**question) as stream:
                    async for event in stream:
                        events.append(event)  # noqa: PERF401 - those before a failure count too
            except StreamFailed as failure:
                return RecordedStream(events, None, failure)
            return RecordedStream(events, stream.result, None)
        return await asyncio.to_thread(_record_stream, self.client, question)


def _record_stream(client: StreamClient, question: dict[str, Any]) -> RecordedStream:
    events: list[Event] = []
    try:
        with client.stream(**question) as stream:
            for event in stream:
                events.append(event)  # noqa: PERF402 - the same
    except StreamFailed as failure:
        return RecordedStream(events, None, failure)
    return RecordedStream(events, stream.result, None)


@asynccontextmanager
async def open_sdk_client(driver: Driver, base_url: str) -> AsyncIterator[Any]:
    """Yield an SDK client for ``driver``, and close it in the end."""
    if driver == "async":
        transport = DefaultAsyncHttpxClient(trust_env=False)
        async with AsyncOpenAI(base_url=base_url, api_key=KEY, http_client=transport) as sdk:
            yield sdk
    else:
        blocking = DefaultHttpxClient(trust_env=False)
        with OpenAI(base_url=base_url, api_key=KEY, http_client=blocking) as sdk:
            yield sdk


def driver_client(driver: Driver, sdk: Any, **options: Any) -> DriverClient:
    """Return a stream client on ``sdk`` that tries twice at once, unless ``options`` say otherwise."""
    make: Callable[..., AsyncStreamClient | StreamClient] = AsyncStreamClient if driver == "async" else StreamClient
    return DriverClient(make(sdk, **{"retry": RETRY, **options}))
