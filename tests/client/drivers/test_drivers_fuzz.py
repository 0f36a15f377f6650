"""What holds for both drivers, over a transport that may break at any point."""

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
QUESTIONS: dict[Api, dict[str, Any]] = {
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
_ACTS = st.fixed_dictionaries(
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
    """A body in pieces that may end with an error; ``closed`` tells whether it was let go."""

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
        """Let it go."""
        self.closed = True

    async def aclose(self) -> None:
        """Let it go."""
        self.closed = True


class Provider:
    """Answers each request with the next act, over and over. ``bodies`` are those that it handed out."""

    def __init__(self, acts: list[dict[str, Any]]) -> None:
        self._acts = acts
        self.requests = 0
        self.bodies: list[Body] = []

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """Return an answer, or raise what a transport raises."""
        act = self._acts[self.requests % len(self._acts)]
        self.requests += 1
        if act["refuses"] is not None:
            raise act["refuses"]
        data, headers = act["body"], {"content-type": act["type"], "location": "/elsewhere"}
        if act["coding"] is not None:
            headers["content-encoding"] = act["coding"].removeprefix("broken ")
            data = gzip.compress(data) if act["coding"] == "gzip" else data
        body = Body(split(data, act["where"]), act["breaks"])
        self.bodies.append(body)
        return httpx2.Response(act["status"], headers=headers, stream=body)

    def asynchronous(self) -> AsyncOpenAI:
        """Return an SDK client that asks it."""
        transport = DefaultAsyncHttpxClient(transport=httpx2.MockTransport(self.answer))
        return AsyncOpenAI(base_url=BASE_URL, api_key=KEY, http_client=transport)

    def blocking(self) -> OpenAI:
        """Return an SDK client that asks it."""
        transport = DefaultHttpxClient(transport=httpx2.MockTransport(self.answer))
        return OpenAI(base_url=BASE_URL, api_key=KEY, http_client=transport)


def options(client: Any, spans: OpenSpans, **given: Any) -> Any:
    """Return ``client`` with its spans counted."""
    client = client.with_options(**given)
    client._routes.options.instruments.tracer = spans.tracer
    return client


def assert_ended(
    heard: list[Event], result: StreamResult | None, failed: bool, left: bool, spans: OpenSpans, provider: Provider
) -> None:
    """Hold an ended stream against what holds for each: one end, whole or failed, and nothing left open."""
    assert (0, True) == (spans.open, all(body.closed for body in provider.bodies))
    assert True is (left or (result is not None) is not failed)
    if result is not None and not left:
        arguments = "".join(call.arguments for call in result.tool_calls)
        assert (result.text, result.reasoning, result.refusal, arguments) == join_deltas(heard)


@examples(sample=40, fuzz=6_000)
@given(
    acts=st.lists(_ACTS, min_size=1, max_size=4),
    api=st.sampled_from(APIS),
    on_partial=st.sampled_from(["restart", "fail", "buffer"]),
    leave=st.one_of(st.none(), st.none(), st.integers(1, 6)),
)
async def test_an_asynchronous_stream_ends_as_an_answer_or_a_fault(
    part: int, acts: list[dict[str, Any]], api: Api, on_partial: Any, leave: int | None
) -> None:
    """Whatever the transport does, a stream is whole or raises StreamFailed, and leaves no span and no body open."""
    count_example()
    provider, spans, heard, failed = Provider(acts), OpenSpans(), [], False
    async with provider.asynchronous() as sdk:
        client = options(AsyncStreamClient(sdk, retry=RETRY), spans, fallbacks=FALLBACKS, on_partial=on_partial)
        try:
            async with client.stream(model="m", **QUESTIONS[api]) as stream:
                async for event in stream:
                    heard.append(event)
                    if len(heard) == leave:
                        break
        except StreamFailed:
            failed = True
        result = stream._call.result
    assert_ended(heard, result, failed, leave is not None, spans, provider)


@examples(sample=40, fuzz=6_000)
@given(
    acts=st.lists(_ACTS, min_size=1, max_size=4),
    api=st.sampled_from(APIS),
    on_partial=st.sampled_from(["restart", "fail", "buffer"]),
    leave=st.one_of(st.none(), st.none(), st.integers(1, 6)),
)
def test_a_synchronous_stream_ends_as_an_answer_or_a_fault(
    part: int, acts: list[dict[str, Any]], api: Api, on_partial: Any, leave: int | None
) -> None:
    """The same holds without a loop."""
    count_example()
    provider, spans, heard, failed = Provider(acts), OpenSpans(), [], False
    with provider.blocking() as sdk:
        client = options(StreamClient(sdk, retry=RETRY), spans, fallbacks=FALLBACKS, on_partial=on_partial)
        try:
            with client.stream(model="m", **QUESTIONS[api]) as stream:
                for event in stream:
                    heard.append(event)
                    if len(heard) == leave:
                        break
        except StreamFailed:
            failed = True
        result = stream._call.result
    assert_ended(heard, result, failed, leave is not None, spans, provider)


@examples(sample=20, fuzz=2_000)
@given(
    stream=streams(), where=split_points, cut=st.one_of(st.none(), st.integers(0, 1 << 20)), breaks=st.none() | _ERRORS
)
async def test_what_is_whole_is_heard_and_what_is_not_is_not(
    part: int, stream: Stream, where: list[int] | None, cut: int | None, breaks: Exception | None
) -> None:
    """A stream that is cut is asked for again, and the caller has just the text of the one that was whole."""
    count_example()
    good = {"refuses": None, "status": 200, "type": "text/event-stream", "coding": None, "where": where}
    part_of_it = stream.data if cut is None else stream.data[: cut % len(stream.data)]
    acts = [{**good, "body": part_of_it, "breaks": breaks}, {**good, "body": stream.data, "breaks": None}]
    provider, heard = Provider(acts), []
    async with provider.asynchronous() as sdk:
        client = AsyncStreamClient(sdk, retry=RETRY, on=lambda fault: True)
        async with client.stream(model="m", **QUESTIONS[stream.api]) as asked:
            async for event in asked:
                heard.append(event)  # noqa: PERF401 - one by one, as a caller does
    assert (stream.text, stream.reasoning, "", stream.arguments) == join_deltas(heard)
    assert (stream.text, stream.finish_reason, None) == (
        asked.result.text,
        asked.result.finish_reason,
        asked.result.degraded,
    )
