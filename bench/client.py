"""What the client costs a chunk and a call: CPU against the bare SDK loop, on the same server, in alternating rounds.

The server is another process; CPU time is this process's own, so that neither the server nor a busy machine counts.
Spans and metrics are recorded by a real SDK, and retries are armed.
"""

import asyncio
import gc
import multiprocessing
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection

from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from bench.table import Row
from streamcanary import AsyncStreamClient

_ROUNDS = 15
_LONG, _SHORT = 1000, 12  # chunks
_CALLS = {_LONG: 2, _SHORT: 40}  # in a round
_MESSAGES = [{"role": "user", "content": "Count."}]
Ask = Callable[[int], Awaitable[None]]


def rows() -> list[Row]:
    """Measure, and return the table's rows."""
    return asyncio.run(_measure())


async def _measure() -> list[Row]:
    _record_telemetry()
    async with _server() as base_url:
        transport = DefaultAsyncHttpxClient(trust_env=False)
        sdk = AsyncOpenAI(base_url=base_url, api_key="none", http_client=transport)
        client = AsyncStreamClient(sdk)

        async def ours(chunks: int) -> None:
            async with client.stream(model=f"count-{chunks}", messages=_MESSAGES) as stream:
                async for _ in stream:
                    pass

        async def bare_sdk(chunks: int) -> None:
            stream = await sdk.chat.completions.create(model=f"count-{chunks}", messages=_MESSAGES, stream=True)
            async for _ in stream:
                pass

        async def bare_bytes(chunks: int) -> None:
            body = {"model": f"count-{chunks}", "messages": _MESSAGES, "stream": True}
            async with transport.stream("POST", f"{base_url}/chat/completions", json=body) as response:
                async for _ in response.aiter_bytes():
                    pass

        ways: dict[str, Ask] = {"bare SDK loop": bare_sdk, "streamcanary": ours, "httpx2 bytes": bare_bytes}
        table = await _compare(ways, _LONG, unit="chunk", budget="0.20 of SDK")
        table += await _compare(ways, _SHORT, unit="call", budget="0.65 of SDK")
        await sdk.close()
        return table


async def _compare(ways: dict[str, Ask], chunks: int, *, unit: str, budget: str) -> list[Row]:
    calls = _CALLS[chunks]
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(_ROUNDS + 1):
        for name, ask in ways.items():
            gc.collect()
            began = time.process_time()
            for _ in range(calls):
                await ask(chunks)
            if round_number:  # the first round warms up
                spent[name].append((time.process_time() - began) / calls)
    base = spent["bare SDK loop"]
    table = []
    for name, seconds in spent.items():
        ratio = statistics.median(own / sdk for own, sdk in zip(seconds, base, strict=True))
        shown = statistics.median(seconds) * 1e6 / (chunks if unit == "chunk" else 1)
        what = f"CPU a {unit}, stream of {chunks} chunks: {name}"
        table.append(Row(what, f"{shown:.0f} µs, {ratio:.2f} of SDK", budget if name == "streamcanary" else ""))
    return table


class _Discard(SpanExporter):
    def export(self, spans: object) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def _record_telemetry() -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(_Discard()))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))


@asynccontextmanager
async def _server() -> AsyncIterator[str]:
    """Run a server that counts, one event a write, in a process of its own."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        port = await asyncio.to_thread(ours.recv)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.join(5)


def _serve(pipe: Connection) -> None:
    asyncio.run(_count(pipe))


async def _count(pipe: Connection) -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            chunks = int(body.partition(b"count-")[2].partition(b'"')[0])
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
                b"x-request-id: req_1\r\n\r\n"
            )
            for number in range(chunks):
                writer.write(_chunk(b'{"content":" token"}', b"null", number))
                await writer.drain()
                await asyncio.sleep(0)
            writer.write(_chunk(b"{}", b'"stop"', chunks) + _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _chunk(delta: bytes, finish: bytes, number: int) -> bytes:
    return _framed(
        b'data: {"id":"chatcmpl-%d","object":"chat.completion.chunk","created":1800000000,"model":"count",'
        b'"system_fingerprint":"fp_1","choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]}\n\n'
        % (number, delta, finish)
    )


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
