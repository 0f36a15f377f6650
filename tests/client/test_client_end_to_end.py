"""The client against a real server that misbehaves, over a real socket."""

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


async def fail(client: AsyncStreamClient, model: str) -> StreamFailed:
    with pytest.raises(StreamFailed) as caught:
        await client.complete(model=model, messages=MESSAGES)
    return caught.value


async def test_a_whole_answer(client: AsyncStreamClient) -> None:
    """The text comes in pieces, and the result has it whole, with what is known of it."""
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
async def test_a_retry_gives_the_whole_answer_once(client: AsyncStreamClient, model: str) -> None:
    """After a fault the answer starts again; what the caller ends up with is the answer, once."""
    text = ""
    async with client.stream(model=model, messages=MESSAGES) as stream:
        async for event in stream:
            match event:
                case ContentDelta(delta=delta):
                    text += delta
                case Restarted():
                    text = ""
    assert (ANSWER, ANSWER, 2, None) == (text, stream.result.text, len(stream.result.attempts), stream.result.degraded)


async def test_retry_after_is_waited_for() -> None:
    """The wait that a 429 asks for is kept."""
    async with Simulator(timings=FAST_TIMINGS) as simulator, make_sdk(simulator.base_url) as sdk:
        client = AsyncStreamClient(sdk, retry=RETRY, timeouts=TIMEOUTS)
        result = await client.complete(model="sim-429-retry-after-ms@1", messages=MESSAGES)
    fault = result.attempts[0].fault
    assert fault is not None
    assert (FaultKind.RATE_LIMITED, 0.2) == (fault.kind, fault.retry_after)
    assert 0.2 == result.attempts[1].delay


async def test_one_fallback_route(client: AsyncStreamClient, simulator: Simulator) -> None:
    """When the own route has failed, another model answers, and the result says so."""
    client = client.with_options(fallbacks=[Route(model="sim-ok", overrides={"max_tokens": 8})])
    result = await client.complete(model="sim-500", messages=MESSAGES)
    assert ("fallback", "sim-ok", ["sim-500", "sim-500", "sim-ok"]) == (
        result.degraded,
        result.model,
        [attempt.route for attempt in result.attempts],
    )
    assert ["sim-500", "sim-500", "sim-ok"] == [request.model for request in simulator.requests]


async def test_a_fallback_on_another_endpoint(client: AsyncStreamClient) -> None:
    """A route can have a client of its own, and a name that is not taken."""
    async with Simulator(timings=HANGING_TIMINGS) as other, make_sdk(other.base_url) as other_sdk:
        client = client.with_options(fallbacks=[Route(client=other_sdk)])
        with pytest.raises(StreamFailed) as caught:
            await client.complete(model="sim-401", messages=MESSAGES)
        assert ["sim-401", "sim-401#1"] == [attempt.route for attempt in caught.value.attempts]
        assert 1 == len(other.requests)


async def test_nobody_listens(client: AsyncStreamClient, simulator: Simulator) -> None:
    """A refused connection is connect_failed, in the connect phase."""
    await simulator.close()
    failure = await fail(client, "sim-ok")
    assert (FaultKind.CONNECT_FAILED, Phase.CONNECT) == (failure.fault.kind, failure.fault.phase)


async def test_a_name_that_does_not_resolve() -> None:
    """A host that no resolver knows is dns_failed."""
    async with make_sdk("http://no-such-host.invalid/v1") as sdk:
        failure = await fail(AsyncStreamClient(sdk, retry=RetryPolicy(max_attempts=1)), "m")
    assert FaultKind.DNS_FAILED is failure.fault.kind


async def test_an_unknown_certificate() -> None:
    """A certificate that is not trusted is tls_failed, blamed on the configuration, and not tried again."""
    async with Simulator(timings=HANGING_TIMINGS, ssl=server_tls()) as simulator, make_sdk(simulator.base_url) as sdk:
        failure = await fail(AsyncStreamClient(sdk, retry=RETRY), "sim-ok")
    assert (FaultKind.TLS_FAILED, Blame.CONFIG, 1) == (
        failure.fault.kind,
        failure.fault.blame,
        len(failure.attempts),
    )


async def test_over_tls() -> None:
    """Over TLS an answer is whole, and a cut is a cut."""
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
async def test_what_cannot_be_sent(simulator: Simulator, base_url: str, key: str) -> None:
    """An address or a key that no request can be made of is invalid_request, tried once, and the key is not shown."""
    transport = DefaultAsyncHttpxClient(trust_env=False)
    address = base_url.replace("{simulator}", simulator.base_url)
    async with AsyncOpenAI(base_url=address, api_key=key, http_client=transport) as sdk:
        failure = await fail(AsyncStreamClient(sdk, retry=RETRY), "m")
    assert (FaultKind.INVALID_REQUEST, Blame.CONFIG, 1) == (
        failure.fault.kind,
        failure.fault.blame,
        len(failure.attempts),
    )
    assert False is any(part in str(failure) for part in key.split("\n"))


async def test_a_connection_serves_again(client: AsyncStreamClient, simulator: Simulator) -> None:
    """Answers that came whole leave their connection to the next call."""
    for _ in range(5):
        await client.complete(model="sim-ok", messages=MESSAGES)
    assert 1 == simulator.connection_count


async def test_leaving_the_loop_closes_the_connection(client: AsyncStreamClient, simulator: Simulator) -> None:
    """A caller who breaks out leaves nothing open, and has no result."""
    async with client.stream(model="sim-stall", messages=MESSAGES) as stream:
        async for event in stream:
            if isinstance(event, ContentDelta):
                break
    with pytest.raises(RuntimeError, match="no result yet"):
        _ = stream.result
    await wait_until(lambda: simulator.connection_count == 0)


async def test_cancellation_goes_through(client: AsyncStreamClient, simulator: Simulator) -> None:
    """A cancelled caller gets the cancellation, at once, and leaves nothing open."""
    client = client.with_options(timeouts=Timeouts())
    task = asyncio.create_task(client.complete(model="sim-stall", messages=MESSAGES))
    await wait_until(lambda: len(simulator.requests) == 1)
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_until(lambda: simulator.connection_count == 0)


async def test_the_rest_can_be_drained(client: AsyncStreamClient) -> None:
    """After a break, until_done reads what is left, and the result is there."""
    async with client.stream(model="sim-ok", messages=MESSAGES) as stream:
        async for event in stream:
            if isinstance(event, ContentDelta):
                break
        await stream.until_done()
    assert ANSWER == stream.result.text


async def test_the_result_of_a_failure_is_the_failure(client: AsyncStreamClient) -> None:
    """Reading on after a failure, and asking for the result, raise it again."""
    stream = client.stream(model="sim-401", messages=MESSAGES)
    with pytest.raises(StreamFailed):
        await stream.until_done()
    with pytest.raises(StreamFailed):
        await stream.until_done()
    with pytest.raises(StreamFailed):
        _ = stream.result


async def test_a_caller_may_be_slow(client: AsyncStreamClient) -> None:
    """Time that the caller takes is not held against the stream."""
    async with client.stream(model="sim-ok", messages=MESSAGES) as stream:
        async for event in stream:
            if isinstance(event, ContentDelta):
                await asyncio.sleep(0.35)  # longer than the stall clock
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
def test_programming_errors_are_told_at_once(
    client: AsyncStreamClient, arguments: dict[str, object], message: str
) -> None:
    """What cannot work is a TypeError when it is asked for, before anything is sent."""
    with pytest.raises(TypeError, match=message):
        client.stream(**arguments)


async def test_messages_may_be_an_iterator(client: AsyncStreamClient, simulator: Simulator) -> None:
    """What can be read only once is sent whole on every attempt."""
    parts = ({"type": "text", "text": word} for word in ("Reply", "pong."))
    messages = ({"role": "user", "content": content} for content in ("Hello", parts))
    await client.complete(model="sim-cut@1", messages=messages)
    first, second = (json.loads(request.body)["messages"] for request in simulator.requests)
    assert (first, 2, 2) == (second, len(first), len(first[1]["content"]))


async def test_two_readers_are_refused(client: AsyncStreamClient) -> None:
    """A stream has one reader."""
    async with client.stream(model="sim-stall", messages=MESSAGES) as stream:
        first = asyncio.create_task(stream.until_done())
        await asyncio.sleep(0.05)
        with pytest.raises(RuntimeError, match="already being read"):
            await stream.until_done()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
