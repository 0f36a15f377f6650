"""Content codings of answers: only what the request offered, decoded at most once, with bounds."""

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI

from streamcanary import AsyncStreamClient, RetryPolicy, StreamClient, StreamFailed, StreamResult
from streamcanary.model.faults import FaultKind
from support.client.drivers import DRIVERS, KEY, Driver, driver_client, open_sdk_client
from support.servers.hostile import HostileServer, double_gzip_bomb, endless, gzip_bomb
from support.servers.simulator import wait_until

STREAM = "HTTP/1.1 200 OK\ncontent-type: text/event-stream"
EVENTS = b'data: {"choices": [{"delta": {"content": "pong"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
COMMENT = b": " + b"-" * 1021 + b"\n"
ONE_ATTEMPT = RetryPolicy(max_attempts=1)

every_driver = pytest.mark.parametrize("driver", DRIVERS)


async def call(driver: Driver, head: str, body: bytes, **extra: Any) -> StreamResult | StreamFailed:
    """Return the result or failure of a call that is answered with ``head`` and ``body``."""
    async with (
        HostileServer(f"{head}\ncontent-length: {len(body)}", lambda: [body]) as server,
        open_sdk_client(driver, server.base_url) as sdk,
    ):
        try:
            return await driver_client(driver, sdk, retry=ONE_ATTEMPT).complete("m", **extra)
        except StreamFailed as failure:
            return failure


@every_driver
@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(EVENTS)),
        ("deflate", zlib.compress(EVENTS)),
        ("deflate", zlib.compress(EVENTS, wbits=-zlib.MAX_WBITS)),
        ("x-gzip", gzip.compress(EVENTS)),
        ("identity", EVENTS),
        ("Identity, GZIP", gzip.compress(EVENTS)),
        ("gzip, chunked", gzip.compress(EVENTS)),
    ],
)
async def test_offered_coding_is_decoded(driver: Driver, coding: str, body: bytes) -> None:
    """A stream with a coding that the SDK's transport offers is decoded."""
    result = await call(driver, f"{STREAM}\ncontent-encoding: {coding}", body)
    assert isinstance(result, StreamResult)
    assert "pong" == result.text


@every_driver
@pytest.mark.parametrize(
    ("coding", "reason"),
    [
        ("br", "the content coding br, which the request did not offer in Accept-Encoding"),
        ("zstd", "the content coding zstd, which the request did not offer in Accept-Encoding"),
        ("x-compress", "the content coding compress, which the request did not offer in Accept-Encoding"),
        ("utf-8, br", "the content coding br, which the request did not offer in Accept-Encoding"),
        ("gzip, deflate", "more than one content coding (gzip, deflate), which is not decoded"),
        ("gzip, identity, gzip", "more than one content coding (gzip, gzip), which is not decoded"),
    ],
)
async def test_other_coding_is_a_fault_that_says_so(driver: Driver, coding: str, reason: str) -> None:
    """A coding that was not offered, or more than one, is no stream, and is not decoded."""
    failure = await call(driver, f"{STREAM}\ncontent-encoding: {coding}", double_gzip_bomb(b""))
    assert isinstance(failure, StreamFailed)
    assert (FaultKind.NOT_A_STREAM, f"the server answered, but its body has {reason}") == (
        failure.fault.kind,
        failure.fault.message,
    )


@every_driver
@pytest.mark.parametrize("coding", ["none", "utf-8", "chunked", "UTF-8, identity", "aws-chunked", "*", ","])
async def test_name_that_is_no_coding_is_ignored(driver: Driver, coding: str) -> None:
    """A name that is no content coding changes nothing: the answer is read, and so is the body of an error."""
    result = await call(driver, f"{STREAM}\ncontent-encoding: {coding}", EVENTS)
    assert isinstance(result, StreamResult)
    assert "pong" == result.text
    error = "HTTP/1.1 429 Too Many Requests\ncontent-type: application/json"
    failure = await call(driver, f"{error}\ncontent-encoding: {coding}", b'{"error": {"message": "no credit left"}}')
    assert isinstance(failure, StreamFailed)
    assert (FaultKind.RATE_LIMITED, "no credit left") == (failure.fault.kind, failure.fault.message)


@every_driver
async def test_identity_only_refuses_every_coding(driver: Driver) -> None:
    """A request that asks for no coding, as that of a canary, gets a fault for a compressed answer."""
    extra = {"extra_headers": {"Accept-Encoding": "identity"}}
    failure = await call(driver, f"{STREAM}\ncontent-encoding: gzip", gzip.compress(EVENTS), **extra)
    assert isinstance(failure, StreamFailed)
    assert FaultKind.NOT_A_STREAM is failure.fault.kind


@every_driver
@pytest.mark.parametrize(
    ("content_type", "start", "filler"),
    [("text/event-stream", b"", COMMENT), ("application/json", b'{"choices": [', b" ")],
)
async def test_bomb_is_decoded_with_a_bound(driver: Driver, content_type: str, start: bytes, filler: bytes) -> None:
    """A stream or a JSON body that decodes to 100 MiB fails, and is never held in memory as a whole."""
    body = gzip_bomb(start, filler)
    tracemalloc.start()
    try:
        failure = await call(driver, f"HTTP/1.1 200 OK\ncontent-type: {content_type}\ncontent-encoding: gzip", body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(failure, StreamFailed)
    assert (FaultKind.ANSWER_TOO_LONG, True) == (failure.fault.kind, peak < 90 << 20)


@every_driver
async def test_codings_without_a_bounded_decoder_are_not_offered(driver: Driver) -> None:
    """Of the codings that a transport offers, the request keeps those that are decoded with bounds."""
    async with HostileServer(STREAM, lambda: [EVENTS]) as server:
        offered = {"headers": {"Accept-Encoding": "gzip;q=0.5, br, zstd, *"}, "trust_env": False}
        if driver == "async":
            sdk: Any = AsyncOpenAI(
                base_url=server.base_url, api_key=KEY, http_client=DefaultAsyncHttpxClient(**offered)
            )
        else:
            sdk = OpenAI(base_url=server.base_url, api_key=KEY, http_client=DefaultHttpxClient(**offered))
        await driver_client(driver, sdk).complete("m")
        await sdk.close() if driver == "async" else sdk.close()
    [head] = server.heads
    assert True is ("accept-encoding: gzip;q=0.5\r\n" in head.lower())


@every_driver
async def test_body_after_the_answer_is_not_drained_without_end(driver: Driver) -> None:
    """After a complete answer the rest of the body is read up to a limit, and then the connection is closed."""
    async with (
        HostileServer(STREAM, endless(EVENTS, COMMENT * 64)) as server,
        open_sdk_client(driver, server.base_url) as sdk,
    ):
        result = await driver_client(driver, sdk).complete("m")
        await wait_until(lambda: server.connections == 0)
    assert "pong" == result.text


class SpacedResponse(httpx2.Response):
    """A response of a caller's own transport that changes its raw body."""

    def iter_raw(self, chunk_size: int | None = None) -> Generator[bytes]:
        """Yield the body with another answer."""
        for piece in super().iter_raw(chunk_size):
            yield piece.replace(b"pong", b"p o n g")

    async def aiter_raw(self, chunk_size: int | None = None) -> AsyncGenerator[bytes]:
        """Yield the body with another answer."""
        async for piece in super().aiter_raw(chunk_size):
            yield piece.replace(b"pong", b"p o n g")


class SpacedBody(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """The body of a stream, in one piece."""

    def __iter__(self) -> Iterator[bytes]:
        yield EVENTS

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield EVENTS


async def test_response_class_of_the_transport_reads_its_own_body() -> None:
    """A response whose class reads its raw body in its own way is read in this way."""

    def respond(request: httpx2.Request) -> httpx2.Response:
        return SpacedResponse(200, headers={"content-type": "text/event-stream"}, stream=SpacedBody())

    transport = httpx2.MockTransport(respond)
    async with AsyncOpenAI(api_key=KEY, http_client=httpx2.AsyncClient(transport=transport)) as sdk:
        assert (
            "p o n g"
            == (await AsyncStreamClient(sdk).complete(model="m", messages=[{"role": "user", "content": "ping"}])).text
        )
    with OpenAI(api_key=KEY, http_client=httpx2.Client(transport=transport)) as sync_sdk:
        assert (
            "p o n g" == StreamClient(sync_sdk).complete(model="m", messages=[{"role": "user", "content": "ping"}]).text
        )
