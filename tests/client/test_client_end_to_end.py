"""The client against a simulator that produces faults, over a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from streamcanary import AsyncStreamClient, RetryPolicy, Route, StreamFailed, Timeouts
from streamcanary.events import AttemptStarted, Completed, ContentDelta, Restarted
from streamcanary.model.faults import Blame, FaultKind, Phase
from streamcanary.simulator import Simulator
from support.servers.simulator import FAST_TIMINGS, HANGING_TIMINGS, client_tls, server_tls, wait_until

MESSAGES = [{"role": "user", "content": "Reply with the single word pong."}]
ANSWER = "Pong! The canary sings."
TIMEOUTS = Timeouts(stall=0.3)
RETRY = RetryPolicy(max_attempts=2, base_delay=0.001, max_delay=0.001)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(timings=HANGING_TIMINGS) as simulator:
        yield simulator


@pytest.fixture
async def sdk(simulator: Simulator) -> AsyncIterator[AsyncOpenAI]:
    async with make_sdk(simulator.base_url) as sdk:
        yield sdk


def make_sdk(base_url: str, **options: object) -> AsyncOpenAI:
    transport = DefaultAsyncHttpxClient(trust_env=False, **options)
    return AsyncOpenAI(base_url=base_url, api_key="sk-test-key-of-no-worth", http_client=transport)


@pytest.fixture
def client(sdk: AsyncOpenAI) -> AsyncStreamClient:
    return AsyncStreamClient(sdk, retry=RETRY, timeouts=TIMEOUTS)


async def complete_and_fail(client: AsyncStreamClient, model: str) -> StreamFailed:
    with pytest.raises(StreamFailed) as caught:
        await client.complete(model=model, messages=MESSAGES)
    return caught.value


async def test_complete_answer(client: AsyncStreamClient) -> None:
    """The text arrives in deltas, and the result has the full text and its metadata."""
    async with client.stream(model="sim-ok", messages=MESSAGES) as stream:
        events = [event async for event in stream]
    result = stream.result
    deltas = [event.delta for event in events if isinstance(event, ContentDelta)]
    assert (AttemptStarted(1, "sim-ok"), Completed("stop", None, None)) == (events[0], events[-1])
    assert (ANSWER, ANSWER, "stop", "sim-ok", None, 1) == (
        "".join(deltas),
        result.text,
        result.finish_reason,
        result.model,
        result.degraded,
        len(result.attempts),
    )
    assert (ANSWER, "sim-ok") == (result.response.choices[0].message.content, result.response.model)
    assert True is (result.request_id or "").startswith("req_")


@pytest.mark.parametrize("model", ["sim-cut@1", "sim-500@1", "sim-stall@1", "sim-truncated@1", "sim-reset@1"])
async def test_retry_delivers_the_answer_once(client: AsyncStreamClient, model: str) -> None:
    """After a fault the answer restarts, and the caller receives it exactly once."""
    text = ""
    async with client.stream(model=model, messages=MESSAGES) as stream:
        async for event in stream:
            match event:
                case ContentDelta(delta=delta):
                    text += delta
                case Restarted():
                    text = ""
    assert (ANSWER, ANSWER, 2, None) == (text, stream.result.text, len(stream.result.attempts), stream.result.degraded)


async def test_retry_after_is_respected() -> None:
    """The delay that a 429 requests is respected."""
    async with Simulator(timings=FAST_TIMINGS) as simulator, make_sdk(simulator.base_url) as sdk:
        client = AsyncStreamClient(sdk, retry=RETRY, timeouts=TIMEOUTS)
        result = await client.complete(model="sim-429-retry-after-ms@1", messages=MESSAGES)
    fault = result.attempts[0].fault
    assert fault is not None
    assert (FaultKind.RATE_LIMITED, 0.2) == (fault.kind, fault.retry_after)
    assert 0.2 == result.attempts[1].delay


async def test_fallback_model_answers(client: AsyncStreamClient, simulator: Simulator) -> None:
    """When the primary has failed, another model answers, and the result is degraded."""
    client = client.with_options(fallbacks=[Route(model="sim-ok", overrides={"max_tokens": 8})])
    result = await client.complete(model="sim-500", messages=MESSAGES)
    assert ("fallback", "sim-ok", ["sim-500", "sim-500", "sim-ok"]) == (
        result.degraded,
        result.model,
        [attempt.route for attempt in result.attempts],
    )
    assert ["sim-500", "sim-500", "sim-ok"] == [request.model for request in simulator.requests]


async def test_fallback_on_another_endpoint(client: AsyncStreamClient) -> None:
    """A route may have its own client, and gets a unique name."""
    async with Simulator(timings=HANGING_TIMINGS) as other, make_sdk(other.base_url) as other_sdk:
        client = client.with_options(fallbacks=[Route(client=other_sdk)])
        with pytest.raises(StreamFailed) as caught:
            await client.complete(model="sim-401", messages=MESSAGES)
        assert ["sim-401", "sim-401#1"] == [attempt.route for attempt in caught.value.attempts]
        assert 1 == len(other.requests)


async def test_refused_connection_is_connect_failed(client: AsyncStreamClient, simulator: Simulator) -> None:
    """A refused connection is connect_failed, in the connect phase."""
    await simulator.close()
    failure = await complete_and_fail(client, "sim-ok")
    assert (FaultKind.CONNECT_FAILED, Phase.CONNECT) == (failure.fault.kind, failure.fault.phase)


async def test_unresolvable_host_is_dns_failed() -> None:
    """A host name that does not resolve is dns_failed."""
    async with make_sdk("http://no-such-host.invalid/v1") as sdk:
        failure = await complete_and_fail(AsyncStreamClient(sdk, retry=RetryPolicy(max_attempts=1)), "m")
    assert FaultKind.DNS_FAILED is failure.fault.kind


async def test_untrusted_certificate_is_tls_failed() -> None:
    """An untrusted certificate is tls_failed with blame config, and is not retried."""
    async with Simulator(timings=HANGING_TIMINGS, ssl=server_tls()) as simulator, make_sdk(simulator.base_url) as sdk:
        failure = await complete_and_fail(AsyncStreamClient(sdk, retry=RETRY), "sim-ok")
    assert (FaultKind.TLS_FAILED, Blame.CONFIG, 1) == (
        failure.fault.kind,
        failure.fault.blame,
        len(failure.attempts),
    )


async def test_retry_over_tls() -> None:
    """Over TLS a cut is detected and retried, and the answer is complete."""
    async with (
        Simulator(timings=HANGING_TIMINGS, ssl=server_tls()) as simulator,
        make_sdk(simulator.base_url, verify=client_tls()) as sdk,
    ):
        client = AsyncStreamClient(sdk, retry=RETRY, timeouts=TIMEOUTS)
        result = await client.complete(model="sim-cut@1", messages=MESSAGES)
    assert (ANSWER, 2) == (result.text, len(result.attempts))


@pytest.mark.parametrize(
    ("base_url", "key"),
    [
        ("provider.test/v1", "sk-key"),
        ("http://127.0.0.1:99999/v1", "sk-key"),
        ("{simulator}", "sk-first\nsecond-part-of-the-key"),
        ("{simulator}", "schlüssel-für-nichts"),
    ],
)
async def test_invalid_address_or_key_is_invalid_request(simulator: Simulator, base_url: str, key: str) -> None:
    """An invalid address or key is invalid_request, tried once, and the key is not in the message."""
    transport = DefaultAsyncHttpxClient(trust_env=False)
    address = base_url.replace("{simulator}", simulator.base_url)
    async with AsyncOpenAI(base_url=address, api_key=key, http_client=transport) as sdk:
        failure = await complete_and_fail(AsyncStreamClient(sdk, retry=RETRY), "m")
    assert (FaultKind.INVALID_REQUEST, Blame.CONFIG, 1) == (
        failure.fault.kind,
        failure.fault.blame,
        len(failure.attempts),
    )
    assert False is any(part in str(failure) for part in key.split("\n"))


async def test_connection_is_reused(client: AsyncStreamClient, simulator: Simulator) -> None:
    """After a complete answer the connection is reused by the next call."""
    for _ in range(5):
        await client.complete(model="sim-ok", messages=MESSAGES)
    assert 1 == simulator.connection_count


async def test_breaking_the_loop_closes_the_connection(client: AsyncStreamClient, simulator: Simulator) -> None:
    """A caller who breaks out of the loop leaves no connection open, and has no result."""
    async with client.stream(model="sim-stall", messages=MESSAGES) as stream:
        async for event in stream:
            if isinstance(event, ContentDelta):
                break
    with pytest.raises(RuntimeError, match="no result yet"):
        _ = stream.result
    await wait_until(lambda: simulator.connection_count == 0)


async def test_cancellation_propagates(client: AsyncStreamClient, simulator: Simulator) -> None:
    """A cancellation propagates at once and leaves no connection open."""
    client = client.with_options(timeouts=Timeouts())
    task = asyncio.create_task(client.complete(model="sim-stall", messages=MESSAGES))
    await wait_until(lambda: len(simulator.requests) == 1)
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_until(lambda: simulator.connection_count == 0)


async def test_until_done_drains_the_stream(client: AsyncStreamClient) -> None:
    """After a break, until_done reads the rest, and the result is available."""
    async with client.stream(model="sim-ok", messages=MESSAGES) as stream:
        async for event in stream:
            if isinstance(event, ContentDelta):
                break
        await stream.until_done()
    assert ANSWER == stream.result.text


async def test_failed_stream_raises_its_failure_again(client: AsyncStreamClient) -> None:
    """Further reads and the result of a failed stream raise the failure again."""
    stream = client.stream(model="sim-401", messages=MESSAGES)
    with pytest.raises(StreamFailed):
        await stream.until_done()
    with pytest.raises(StreamFailed):
        await stream.until_done()
    with pytest.raises(StreamFailed):
        _ = stream.result


async def test_slow_caller_does_not_stall_the_stream(client: AsyncStreamClient) -> None:
    """The time that the caller takes does not count against the stall timeout."""
    async with client.stream(model="sim-ok", messages=MESSAGES) as stream:
        async for event in stream:
            if isinstance(event, ContentDelta):
                await asyncio.sleep(0.35)  # longer than the stall timeout
                break
        await stream.until_done()
    assert 1 == len(stream.result.attempts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "m"}, "a stream needs either 'messages'"),
        ({"model": "m", "messages": MESSAGES, "input": "x"}, "a stream needs either 'messages'"),
        ({"model": "m", "messages": []}, "a stream needs 'messages'"),
        ({"messages": MESSAGES}, "a stream needs 'model'"),
        ({"model": "m", "messages": MESSAGES, "stream": True}, "'stream' cannot be given"),
        ({"model": "m", "messages": MESSAGES, "timeout": 5}, "'timeout' cannot be given"),
        ({"model": "m", "messages": MESSAGES, "background": True}, "'background' cannot be given"),
        ({"model": "m", "messages": MESSAGES, "n": 2}, "'n' must be 1"),
        ({"model": "m", "messages": MESSAGES, "modle": 1}, "unknown argument: modle"),
    ],
)
def test_invalid_arguments_raise_type_error(
    client: AsyncStreamClient, arguments: dict[str, object], message: str
) -> None:
    """Invalid arguments raise TypeError when the stream is created, before any request."""
    with pytest.raises(TypeError, match=message):
        client.stream(**arguments)


async def test_messages_may_be_an_iterator(client: AsyncStreamClient, simulator: Simulator) -> None:
    """Messages from an iterator are sent completely on every attempt."""
    parts = ({"type": "text", "text": word} for word in ("Reply", "pong."))
    messages = ({"role": "user", "content": content} for content in ("Hello", parts))
    await client.complete(model="sim-cut@1", messages=messages)
    first, second = (json.loads(request.body)["messages"] for request in simulator.requests)
    assert (first, 2, 2) == (second, len(first), len(first[1]["content"]))


async def test_second_reader_is_rejected(client: AsyncStreamClient) -> None:
    """A second concurrent reader of a stream is rejected."""
    async with client.stream(model="sim-stall", messages=MESSAGES) as stream:
        first = asyncio.create_task(stream.until_done())
        await asyncio.sleep(0.05)
        with pytest.raises(RuntimeError, match="already being read"):
            await stream.until_done()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
