"""The client and a canary with a real inference server: llama.cpp, with a tiny model of random weights."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from httpx2 import Limits
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from streamcanary import AsyncStreamClient, NonStreaming, RetryPolicy, StreamFailed
from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.events import ContentDelta
from streamcanary.model.clock import SystemClock
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import Outcome, OutcomeKind
from support.programs.llama_server import CONTEXT_TOKENS, LlamaServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.real("llama")]

_MESSAGES = [{"role": "user", "content": "ping"}]
_TOO_LONG = [{"role": "user", "content": "ping " * CONTEXT_TOKENS}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LlamaServer]:
    async with LlamaServer(tmp_path_factory.mktemp("llama")) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def sdk(server: LlamaServer) -> AsyncIterator[AsyncOpenAI]:
    # Like a canary, no connection is used twice: this server closes one after an error, just after the end of the body.
    transport = DefaultAsyncHttpxClient(trust_env=False, limits=Limits(max_keepalive_connections=0))
    async with AsyncOpenAI(base_url=server.base_url, api_key="none", http_client=transport) as sdk:
        yield sdk


@pytest.fixture
def client(sdk: AsyncOpenAI) -> AsyncStreamClient:
    return AsyncStreamClient(sdk, retry=RetryPolicy(max_attempts=1))


async def run_canary(server: LlamaServer, **spec: Any) -> Outcome:
    """Run a canary of the server once."""
    canary = CanarySpec.model_validate({"target": "t", "model": "tiny", "every": "60s", "prompt": "ping", **spec})
    target = TargetSpec.model_validate({"base_url": server.base_url, "api_key": "none", "provider": "llama.cpp"})
    clock = SystemClock()
    async with CanaryRunners({"t": target}, {"c": canary}, clock=clock) as runners:
        return await runners.by_name["c"](clock.time())


async def test_an_answer_is_streamed_token_by_token(client: AsyncStreamClient) -> None:
    """The deltas arrive one by one and add up to the text, which the limit cuts."""
    async with client.stream(model="tiny", messages=_MESSAGES, seed=1, max_tokens=24) as stream:
        deltas = [event.delta async for event in stream if isinstance(event, ContentDelta)]
    assert (stream.result.text, "length", "tiny") == (
        "".join(deltas),
        stream.result.finish_reason,
        stream.result.model,
    )
    assert True is (len(deltas) > 4)


async def test_the_answer_without_streaming_is_the_same(sdk: AsyncOpenAI, client: AsyncStreamClient) -> None:
    """One JSON body has the same text as the stream, for the same seed."""
    streamed = await client.complete(model="tiny", messages=_MESSAGES, seed=1, max_tokens=16, temperature=0.0)
    whole = await sdk.chat.completions.create(model="tiny", messages=_MESSAGES, seed=1, max_tokens=16, temperature=0.0)
    assert whole.choices[0].message.content == streamed.text


async def test_an_endless_answer_ends_at_the_context(client: AsyncStreamClient) -> None:
    """An answer without a limit is whole or cut at the context; the stream of this server always says which."""
    result = await client.complete(model="tiny", messages=_MESSAGES, seed=1)
    assert True is (result.finish_reason in ("stop", "length"))


async def test_a_prompt_longer_than_the_context_is_an_empty_stream(client: AsyncStreamClient) -> None:
    """This server ends the stream before its first event, and says why only without streaming."""
    with pytest.raises(StreamFailed) as caught:
        await client.with_options(fallbacks=[NonStreaming()]).complete(model="tiny", messages=_TOO_LONG)
    assert [FaultKind.STREAM_TRUNCATED, FaultKind.CONTEXT_LENGTH_EXCEEDED] == [
        attempt.fault and attempt.fault.kind for attempt in caught.value.attempts
    ]


async def test_a_canary_of_a_model_without_sense_fails_its_expectation_only(server: LlamaServer) -> None:
    """The stream is healthy and the answer is not: only the expectation fails, at the limit of its tokens."""
    request = {"max_tokens": 16, "seed": 1}
    healthy = await run_canary(server, request=request, expect={"not_degenerate": False, "not_empty": False})
    unmet = await run_canary(server, request=request, expect={"contains": "no such word"})
    assert (OutcomeKind.OK, OutcomeKind.FAILED, FaultKind.TOKEN_LIMIT_REACHED) == (
        healthy.kind,
        unmet.kind,
        unmet.fault.kind if unmet.fault else None,
    )
