"""Properties of both drivers, over a transport that may fail at any point."""

import gzip
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI

from streamcanary import AsyncStreamClient, NonStreaming, RetryPolicy, Route, StreamClient, StreamFailed, StreamResult
from streamcanary.client.core.attempt import Api
from streamcanary.events import Event
from support.client.drivers import KEY
from support.client.stream_strategies import (
    APIS,
    Stream,
    broken_streams,
    join_deltas,
    split,
    split_points,
    sse_like_bytes,
    streams,
)
from support.hypothesis_profile import count_example, examples, report_example_count
from support.telemetry.open_spans import OpenSpans

__all__ = ["report_example_count"]

BASE_URL = "http://provider.test/v1"
RETRY = RetryPolicy(max_attempts=2, base_delay=1e-6, max_delay=1e-6)
FALLBACKS = (Route(model="other"), NonStreaming())
REQUESTS: dict[Api, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "Hello"}]},
    "responses": {"input": "Hello"},
}

_ERRORS = st.sampled_from(
    [
        httpx2.ConnectError("refused"),
        httpx2.ConnectTimeout("slow"),
        httpx2.PoolTimeout("full"),
        httpx2.ProxyError("403"),
        httpx2.ReadError("reset"),
        httpx2.ReadTimeout("slow"),
        httpx2.WriteError("broken pipe"),
        httpx2.RemoteProtocolError("peer closed connection"),
        httpx2.LocalProtocolError("too much"),
        httpx2.DecodingError("not gzip"),
        ssl.SSLError("bad record"),
        ConnectionResetError("reset"),
        TimeoutError("slow"),
    ]
)
_SCRIPTS = st.fixed_dictionaries(
    {
        "refuses": st.one_of(st.none(), st.none(), st.none(), _ERRORS),
        "status": st.sampled_from([200, 200, 200, 200, 200, 204, 307, 401, 429, 500]),
        "type": st.sampled_from(["text/event-stream", "text/event-stream", "application/json", "text/html"]),
        "coding": st.sampled_from([None, None, "gzip", "broken gzip", "unknown"]),
        "body": st.one_of(streams().map(lambda it: it.data), broken_streams().map(lambda it: it[1]), sse_like_bytes),
        "where": split_points,
        "breaks": st.one_of(st.none(), st.none(), _ERRORS),
    }
)


class Body(httpx2.AsyncByteStream, httpx2.SyncByteStream):
    """A response body in pieces that may end with an error; ``closed`` is whether it was closed."""

    def __init__(self, pieces: list[bytes], error: Exception | None = None) -> None:
        self._pieces = pieces
        self._error = error
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._error is not None:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def close(self) -> None:
        """Close the body."""
        self.closed = True

    async def aclose(self) -> None:
        """Close the body."""
        self.closed = True


class ScriptedProvider:
    """Answers each request with the next script, cyclically. ``bodies`` are the response bodies that it created."""

    def __init__(self, scripts: list[dict[str, Any]]) -> None:
        self._scripts = scripts
        self.requests = 0
        self.bodies: list[Body] = []

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """Return a response, or raise what a transport raises."""
        script = self._scripts[self.requests % len(self._scripts)]
        self.requests += 1
        if script["refuses"] is not None:
            raise script["refuses"]
        data, headers = script["body"], {"content-type": script["type"], "location": "/elsewhere"}
        if script["coding"] is not None:
            headers["content-encoding"] = script["coding"].removeprefix("broken ")
            data = gzip.compress(data) if script["coding"] == "gzip" else data
        body = Body(split(data, script["where"]), script["breaks"])
        self.bodies.append(body)
        return httpx2.Response(script["status"], headers=headers, stream=body)

    def async_sdk(self) -> AsyncOpenAI:
        """Return an async SDK client of this provider."""
        transport = DefaultAsyncHttpxClient(transport=httpx2.MockTransport(self.answer))
        return AsyncOpenAI(base_url=BASE_URL, api_key=KEY, http_client=transport)

    def sync_sdk(self) -> OpenAI:
        """Return a synchronous SDK client of this provider."""
        transport = DefaultHttpxClient(transport=httpx2.MockTransport(self.answer))
        return OpenAI(base_url=BASE_URL, api_key=KEY, http_client=transport)


def with_counted_spans(client: Any, spans: OpenSpans, **given: Any) -> Any:
    """Return ``client`` with a tracer that counts open spans."""
    client = client.with_options(**given)
    client._routes.options.instruments.tracer = spans.tracer
    return client


def assert_stream_ended(
    events: list[Event],
    result: StreamResult | None,
    failed: bool,
    was_left: bool,
    spans: OpenSpans,
    provider: ScriptedProvider,
) -> None:
    """Check that a stream ended once, complete or failed, and was_left nothing open."""
    assert (0, True) == (spans.open, all(body.closed for body in provider.bodies))
    assert True is (was_left or (result is not None) is not failed)
    if result is not None and not was_left:
        arguments = "".join(call.arguments for call in result.tool_calls)
        assert (result.text, result.reasoning, result.refusal, arguments) == join_deltas(events)


@examples(sample=40, fuzz=6_000)
@given(
    scripts=st.lists(_SCRIPTS, min_size=1, max_size=4),
    api=st.sampled_from(APIS),
    on_partial=st.sampled_from(["restart", "fail", "buffer"]),
    leave_after=st.one_of(st.none(), st.none(), st.integers(1, 6)),
)
async def test_async_stream_ends_as_an_answer_or_a_fault(
    part: int, scripts: list[dict[str, Any]], api: Api, on_partial: Any, leave_after: int | None
) -> None:
    """For any transport behaviour a stream completes or raises StreamFailed, and leaves no span or body open."""
    count_example()
    provider, spans, events, failed = ScriptedProvider(scripts), OpenSpans(), [], False
    async with provider.async_sdk() as sdk:
        client = with_counted_spans(
            AsyncStreamClient(sdk, retry=RETRY), spans, fallbacks=FALLBACKS, on_partial=on_partial
        )
        try:
            async with client.stream(model="m", **REQUESTS[api]) as stream:
                async for event in stream:
                    events.append(event)
                    if len(events) == leave_after:
                        break
        except StreamFailed:
            failed = True
        result = stream._call.result
    assert_stream_ended(events, result, failed, leave_after is not None, spans, provider)


@examples(sample=40, fuzz=6_000)
@given(
    scripts=st.lists(_SCRIPTS, min_size=1, max_size=4),
    api=st.sampled_from(APIS),
    on_partial=st.sampled_from(["restart", "fail", "buffer"]),
    leave_after=st.one_of(st.none(), st.none(), st.integers(1, 6)),
)
def test_sync_stream_ends_as_an_answer_or_a_fault(
    part: int, scripts: list[dict[str, Any]], api: Api, on_partial: Any, leave_after: int | None
) -> None:
    """For any transport behaviour a synchronous stream completes or raises StreamFailed, and leaves nothing open."""
    count_example()
    provider, spans, events, failed = ScriptedProvider(scripts), OpenSpans(), [], False
    with provider.sync_sdk() as sdk:
        client = with_counted_spans(StreamClient(sdk, retry=RETRY), spans, fallbacks=FALLBACKS, on_partial=on_partial)
        try:
            with client.stream(model="m", **REQUESTS[api]) as stream:
                for event in stream:
                    events.append(event)
                    if len(events) == leave_after:
                        break
        except StreamFailed:
            failed = True
        result = stream._call.result
    assert_stream_ended(events, result, failed, leave_after is not None, spans, provider)


@examples(sample=20, fuzz=2_000)
@given(
    stream=streams(), where=split_points, cut=st.one_of(st.none(), st.integers(0, 1 << 20)), breaks=st.none() | _ERRORS
)
async def test_caller_receives_the_text_of_the_complete_attempt(
    part: int, stream: Stream, where: list[int] | None, cut: int | None, breaks: Exception | None
) -> None:
    """A truncated stream is retried, and the caller receives exactly the text of the complete attempt."""
    count_example()
    valid = {"refuses": None, "status": 200, "type": "text/event-stream", "coding": None, "where": where}
    truncated = stream.data if cut is None else stream.data[: cut % len(stream.data)]
    scripts = [{**valid, "body": truncated, "breaks": breaks}, {**valid, "body": stream.data, "breaks": None}]
    provider, events = ScriptedProvider(scripts), []
    async with provider.async_sdk() as sdk:
        client = AsyncStreamClient(sdk, retry=RETRY, on=lambda fault: True)
        async with client.stream(model="m", **REQUESTS[stream.api]) as response:
            async for event in response:
                events.append(event)  # noqa: PERF401 - iterates as a caller does
    assert (stream.text, stream.reasoning, "", stream.arguments) == join_deltas(events)
    assert (stream.text, stream.finish_reason, None) == (
        response.result.text,
        response.result.finish_reason,
        response.result.degraded,
    )
