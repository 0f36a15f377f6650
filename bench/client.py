"""Measure the CPU time of the client per chunk and call, against the bare SDK loop, in alternating rounds.

The server runs in another process; only the CPU time of this process counts, so that the server has no influence.
Spans and metrics are recorded by a real SDK, and retries are armed; ``time_per_chunk`` is off, as it is by default.
"""

import asyncio
import statistics
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any

from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI

from bench import rivals, telemetry
from bench.counting import counting_server
from bench.rounds import MESSAGES, TimedStream, alternate, measured, ratio
from bench.table import Row
from streamcanary import AsyncStreamClient, StreamClient

_ROUNDS = 15
_LONG, _SHORT = 1000, 12  # chunks
_CALLS = {_LONG: 2, _SHORT: 40}  # in a round
_UNITS = {_LONG: "chunk", _SHORT: "call"}
_BUDGETS = {_LONG: "0.15 of SDK", _SHORT: "0.50 of SDK"}


def rows() -> list[Row]:
    """Run the benchmark and return its rows."""
    telemetry.record()
    with ExitStack() as stack:
        base_url = stack.enter_context(counting_server())
        runner = stack.enter_context(asyncio.Runner())
        timed_streams = _asynchronous(runner, base_url)
        blocking = _synchronous(base_url)
        others, absent = rivals.open_all(stack, base_url, (_LONG, _SHORT))
        table: list[Row] = []
        for chunks in (_LONG, _SHORT):
            table += _compare(timed_streams, chunks, budget=_BUDGETS[chunks])
            table += _compare(blocking, chunks)
            if len(others) > 1:
                table += _compare(others, chunks)
            table += [Row(_row_name(name, chunks), reason) for name, reason in absent.items()]
        return table


def _compare(timed_streams: dict[str, TimedStream], chunks: int, *, budget: str = "") -> list[Row]:
    """Measure ``timed_streams`` against the first of them; the second is streamcanary, to which ``budget`` applies."""
    spent = alternate(timed_streams, chunks, calls=_CALLS[chunks], rounds=_ROUNDS)
    base = next(iter(spent.values()))
    table = []
    for place, (name, seconds) in enumerate(spent.items()):
        shown = statistics.median(seconds) * 1e6 / (chunks if chunks == _LONG else 1)
        measured = f"{shown:.0f} µs, {ratio(seconds, base):.2f} of SDK"
        table.append(Row(_row_name(name, chunks), measured, budget if place == 1 else ""))
    return table


def _row_name(name: str, chunks: int) -> str:
    return f"CPU a {_UNITS[chunks]}, stream of {chunks} chunks: {name}"


def _asynchronous(runner: asyncio.Runner, base_url: str) -> dict[str, TimedStream]:
    transport = DefaultAsyncHttpxClient(trust_env=False)
    sdk = AsyncOpenAI(base_url=base_url, api_key="none", http_client=transport)
    client = AsyncStreamClient(sdk)

    async def bare_sdk(chunks: int) -> None:
        stream = await sdk.chat.completions.create(model=f"count-{chunks}", messages=MESSAGES, stream=True)
        async for _ in stream:
            pass

    async def stream_client(chunks: int) -> None:
        async with client.stream(model=f"count-{chunks}", messages=MESSAGES) as stream:
            async for _ in stream:
                pass

    async def bare_bytes(chunks: int) -> None:
        async with transport.stream("POST", f"{base_url}/chat/completions", json=_body(chunks)) as response:
            async for _ in response.aiter_bytes():
                pass

    def timed_stream(ask: Callable[[int], Coroutine[Any, Any, None]]) -> TimedStream:
        async def repeat(chunks: int, calls: int) -> float:
            with measured(calls) as spent:
                for _ in range(calls):
                    await ask(chunks)
            return spent[0]

        return lambda chunks, calls: runner.run(repeat(chunks, calls))

    return {
        "bare SDK loop": timed_stream(bare_sdk),
        "streamcanary": timed_stream(stream_client),
        "httpx2 bytes": timed_stream(bare_bytes),
    }


def _synchronous(base_url: str) -> dict[str, TimedStream]:
    transport = DefaultHttpxClient(trust_env=False)
    sdk = OpenAI(base_url=base_url, api_key="none", http_client=transport)
    client = StreamClient(sdk)

    def bare_sdk(chunks: int) -> None:
        for _ in sdk.chat.completions.create(model=f"count-{chunks}", messages=MESSAGES, stream=True):
            pass

    def stream_client(chunks: int) -> None:
        with client.stream(model=f"count-{chunks}", messages=MESSAGES) as stream:
            for _ in stream:
                pass

    def bare_bytes(chunks: int) -> None:
        with transport.stream("POST", f"{base_url}/chat/completions", json=_body(chunks)) as response:
            for _ in response.iter_bytes():
                pass

    def timed_stream(ask: Callable[[int], None]) -> TimedStream:
        def repeat(chunks: int, calls: int) -> float:
            with measured(calls) as spent:
                for _ in range(calls):
                    ask(chunks)
            return spent[0]

        return repeat

    timed_streams = {"bare SDK loop": bare_sdk, "streamcanary": stream_client, "httpx2 bytes": bare_bytes}
    return {f"{name}, synchronous": timed_stream(ask) for name, ask in timed_streams.items()}


def _body(chunks: int) -> dict[str, object]:
    return {"model": f"count-{chunks}", "messages": MESSAGES, "stream": True}
