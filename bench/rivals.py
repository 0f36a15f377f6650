"""What others cost on the same stream: instrumentations of the SDK, and LiteLLM, as far as they are installed.

Each runs in a separate process, because they patch the SDK; the bare loop that is the baseline does, too.
None of this needs streamcanary.
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
from bench.rounds import MESSAGES, Way, measured

_PATIENCE = 120.0  # seconds for one round of one rival
_LOOKS: Final = 20  # at most, for the first span
_INSTRUMENTATIONS: Final = {
    "opentelemetry-instrumentation-openai-v2": "opentelemetry.instrumentation.openai_v2",
    "openinference-instrumentation-openai": "openinference.instrumentation.openai",
    "opentelemetry-instrumentation-openai (Traceloop)": "opentelemetry.instrumentation.openai",
}
_LITELLM: Final = "litellm"
BARE: Final = "bare SDK loop, alone"
NAMES: Final = (*_INSTRUMENTATIONS, _LITELLM)
"""The rivals, by the names of their packages."""

Ask = Callable[[int], Awaitable[None]]


class Absent(Exception):
    """This rival cannot be measured here; the message says why."""


def installed(name: str) -> bool:
    """Return whether a rival is installed."""
    try:
        return find_spec(_INSTRUMENTATIONS.get(name, name)) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


@contextmanager
def process(name: str, base_url: str) -> Any:
    """Yield a rival (or ``BARE``) as a way, in a separate process.

    Raises:
        Absent: if it is not installed, or breaks.
    """
    if name in NAMES and not installed(name):
        raise Absent("not installed")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_work, args=(name, base_url, theirs), daemon=True)
    child.start()
    theirs.close()

    def way(chunks: int, calls: int) -> float:
        try:
            ours.send((chunks, calls))
            if not ours.poll(_PATIENCE):
                raise Absent(f"no answer within {_PATIENCE:g} s")
            answer = ours.recv()
        except (EOFError, OSError):
            raise Absent("its process has died") from None
        if isinstance(answer, str):
            raise Absent(answer)
        return float(answer)

    try:
        yield way
    finally:
        ours.close()
        child.terminate()
        child.join(5)


def open_all(stack: ExitStack, base_url: str, lengths: Iterable[int]) -> tuple[dict[str, Way], dict[str, str]]:
    """Start the bare loop and all rivals; return those that stream all ``lengths``, and why the others do not."""
    working: dict[str, Way] = {}
    absent: dict[str, str] = {}
    for name in (BARE, *NAMES):
        try:
            way = stack.enter_context(process(name, base_url))
            for chunks in lengths:
                way(chunks, 1)
        except Absent as reason:
            absent[name] = str(reason)
        else:
            working[name] = way
    return working, absent


def _work(name: str, base_url: str, pipe: Connection) -> None:
    """Do what the pipe asks for, until it closes."""
    with asyncio.Runner() as runner:
        try:
            ask = runner.run(_make(name, base_url))
            if name != BARE:
                runner.run(_prove(ask))
            while True:
                chunks, calls = pipe.recv()
                pipe.send(runner.run(_repeat(ask, chunks, calls)))
        except (EOFError, KeyboardInterrupt):
            pass
        except Absent as reason:
            pipe.send(str(reason))
        except Exception as error:  # noqa: BLE001 - it becomes the row of this rival
            pipe.send(f"does not run here: {str(error) or type(error).__name__}"[:80].replace("\n", " "))


async def _prove(ask: Ask) -> None:
    """Stream once, and see that a span comes of it: the price of one that records nothing would mislead.

    Raises:
        Absent: if none comes.
    """
    await ask(1)
    for _ in range(_LOOKS):
        if telemetry.spans():
            return
        await asyncio.sleep(0.1)  # LiteLLM writes its spans down later
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
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it fetches prices from the network
    litellm: Any = import_module(_LITELLM)
    litellm.callbacks = ["otel"]  # it finds the SDK that records

    async def ask(chunks: int) -> None:
        stream = await litellm.acompletion(
            model=f"openai/count-{chunks}", messages=MESSAGES, stream=True, api_base=base_url, api_key="none"
        )
        async for _ in stream:
            pass

    return ask
