"""The client and a canary with a real inference server: llama.cpp, with a tiny model of random weights."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from streamcanary import AsyncStreamClient, NonStreaming, RetryPolicy, StreamFailed
from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.target import TargetSpec
from streamcanary.client.result import StreamResult
from streamcanary.events import ContentDelta
from streamcanary.model.clock import SystemClock
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import Outcome, OutcomeKind
from support.programs.llama_server import CONTEXT_TOKENS, LlamaServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.real("llama")]

_MESSAGES = [{"role": "user", "content": "ping"}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LlamaServer]:
    async with LlamaServer(tmp_path_factory.mktemp("llama")) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def client(server: LlamaServer) -> AsyncIterator[AsyncStreamClient]:
    transport = DefaultAsyncHttpxClient(trust_env=False)
    async with AsyncOpenAI(base_url=server.base_url, api_key="none", http_client=transport) as sdk:
        yield AsyncStreamClient(sdk, retry=RetryPolicy(max_attempts=1))


async def answer(client: AsyncStreamClient, **arguments: Any) -> StreamResult:
    """Return the answer of the model; its sampling is repeatable."""
    return await client.complete(model="tiny", messages=_MESSAGES, seed=1, **arguments)


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


async def test_the_answer_without_streaming_is_the_same(server: LlamaServer, client: AsyncStreamClient) -> None:
    """One JSON body has the same text as the stream, for the same seed."""
    whole = client.with_options(fallbacks=[NonStreaming()])
    streamed = await answer(whole, max_tokens=16, temperature=0.0)
    response = await client._client.chat.completions.create(  # type: ignore[attr-defined]
        model="tiny", messages=_MESSAGES, seed=1, max_tokens=16, temperature=0.0
    )
    assert response.choices[0].message.content == streamed.text


async def test_a_prompt_longer_than_the_context_is_classified(client: AsyncStreamClient) -> None:
    """The server refuses the prompt, and the client says why; it is not asked again."""
    with pytest.raises(StreamFailed) as caught:
        await client.complete(model="tiny", messages=[{"role": "user", "content": "ping " * CONTEXT_TOKENS}])
    assert (FaultKind.CONTEXT_LENGTH_EXCEEDED, False) == (caught.value.fault.kind, caught.value.fault.retryable)


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
