"""Measure the CPU time of other libraries on the same stream: instrumentations of the SDK, and LiteLLM.

Only installed ones are measured. Each runs in a separate process, because they patch the SDK; so does the bare loop,
which is the baseline. Nothing here needs streamcanary.
"""

import asyncio
import multiprocessing
import os
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import Any, Final

from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from bench import telemetry
from bench.rounds import MESSAGES, TimedStream, measured

_ROUND_TIMEOUT = 120.0  # seconds for one round of one library
_SPAN_POLLS: Final = 20  # at most, until the first span
_INSTRUMENTATIONS: Final = {
    "opentelemetry-instrumentation-openai-v2": "opentelemetry.instrumentation.openai_v2",
    "openinference-instrumentation-openai": "openinference.instrumentation.openai",
    "opentelemetry-instrumentation-openai (Traceloop)": "opentelemetry.instrumentation.openai",
}
_LITELLM: Final = "litellm"
BARE: Final = "bare SDK loop, alone"
NAMES: Final = (*_INSTRUMENTATIONS, _LITELLM)
"""The names of the measured packages."""

Ask = Callable[[int], Awaitable[None]]


class Absent(Exception):
    """The library cannot be measured here; the message is the reason."""


def installed(name: str) -> bool:
    """Return whether a library is installed."""
    try:
        return find_spec(_INSTRUMENTATIONS.get(name, name)) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False


@contextmanager
def process(name: str, base_url: str) -> Any:
    """Yield a function that measures a library (or ``BARE``) in a separate process.

    Raises:
        Absent: if it is not installed, or fails.
    """
    if name in NAMES and not installed(name):
        raise Absent("not installed")
    context = multiprocessing.get_context("spawn")
    parent_end, child_end = context.Pipe()
    child = context.Process(target=_work, args=(name, base_url, child_end), daemon=True)
    child.start()
    child_end.close()

    def timed_stream(chunks: int, calls: int) -> float:
        try:
            parent_end.send((chunks, calls))
            if not parent_end.poll(_ROUND_TIMEOUT):
                raise Absent(f"no answer within {_ROUND_TIMEOUT:g} s")
            answer = parent_end.recv()
        except (EOFError, OSError):
            raise Absent("its process has died") from None
        if isinstance(answer, str):
            raise Absent(answer)
        return float(answer)

    try:
        yield timed_stream
    finally:
        parent_end.close()
        child.terminate()
        child.join(5)


def open_all(stack: ExitStack, base_url: str, lengths: Iterable[int]) -> tuple[dict[str, TimedStream], dict[str, str]]:
    """Start the bare loop and all libraries; return those that stream all ``lengths``, and errors of the others."""
    working: dict[str, TimedStream] = {}
    absent: dict[str, str] = {}
    for name in (BARE, *NAMES):
        try:
            timed_stream = stack.enter_context(process(name, base_url))
            for chunks in lengths:
                timed_stream(chunks, 1)
        except Absent as reason:
            absent[name] = str(reason)
        else:
            working[name] = timed_stream
    return working, absent


def _work(name: str, base_url: str, pipe: Connection) -> None:
    """Serve the requests of the pipe until it is closed."""
    with asyncio.Runner() as runner:
        try:
            ask = runner.run(_make(name, base_url))
            if name != BARE:
                runner.run(_check_span(ask))
            while True:
                chunks, calls = pipe.recv()
                pipe.send(runner.run(_repeat(ask, chunks, calls)))
        except (EOFError, KeyboardInterrupt):
            pass
        except Absent as reason:
            pipe.send(str(reason))
        except Exception as error:  # noqa: BLE001 - it becomes the row of this library
            pipe.send(f"does not run here: {str(error) or type(error).__name__}"[:80].replace("\n", " "))


async def _check_span(ask: Ask) -> None:
    """Stream once, and check that a span is recorded: the cost without recording is not comparable.

    Raises:
        Absent: if no span is recorded.
    """
    await ask(1)
    for _ in range(_SPAN_POLLS):
        if telemetry.spans():
            return
        await asyncio.sleep(0.1)  # LiteLLM records its spans with a delay
    raise Absent("runs, but records no span of a stream")


async def _repeat(ask: Ask, chunks: int, calls: int) -> float:
    with measured(calls) as spent:
        for _ in range(calls):
            await ask(chunks)
    return spent[0]


async def _make(name: str, base_url: str) -> Ask:
    telemetry.record()
    if name == _LITELLM:
        return _litellm(base_url)
    if module := _INSTRUMENTATIONS.get(name):
        import_module(module).OpenAIInstrumentor().instrument()
    sdk = AsyncOpenAI(base_url=base_url, api_key="none", http_client=DefaultAsyncHttpxClient(trust_env=False))

    async def ask(chunks: int) -> None:
        stream = await sdk.chat.completions.create(model=f"count-{chunks}", messages=MESSAGES, stream=True)
        async for _ in stream:
            pass

    return ask


def _litellm(base_url: str) -> Ask:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # without this it downloads prices
    litellm: Any = import_module(_LITELLM)
    litellm.callbacks = ["otel"]  # uses the recording SDK

    async def ask(chunks: int) -> None:
        stream = await litellm.acompletion(
            model=f"openai/count-{chunks}", messages=MESSAGES, stream=True, api_base=base_url, api_key="none"
        )
        async for _ in stream:
            pass

    return ask
