"""The thread pool of the process can be full: that delays no request of ours, and is not blamed on the provider."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from streamcanary import RetryPolicy, StreamFailed, StreamResult, Timeouts
from streamcanary.model.faults import Blame, FaultKind
from support.client.drivers import KEY, driver_client
from support.servers.threaded import END, HEAD, TOKEN, ThreadedServer


@pytest.fixture
async def _full_thread_pool() -> AsyncIterator[None]:
    """Keep all threads of the event loop's pool busy."""
    release = threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    busy = loop.run_in_executor(None, release.wait, 60)
    try:
        yield
    finally:
        release.set()
        await busy


class SlowSdk(AsyncOpenAI):
    """An SDK client of an application, which needs a thread before each request."""

    async def _prepare_options(self, options: Any) -> Any:
        await asyncio.to_thread(int)
        return await super()._prepare_options(options)


async def key_from_thread() -> str:
    """Return the key; this needs a thread."""
    await asyncio.to_thread(int)
    return KEY


def answer(connection: socket.socket, stop: threading.Event) -> None:
    """Answer at once."""
    connection.sendall(HEAD + TOKEN + END)


async def ask(sdk_type: type[AsyncOpenAI], timeouts: Timeouts, **options: Any) -> StreamResult | StreamFailed:
    """Return the result of a call with one attempt to a server that answers at once."""
    with ThreadedServer(answer) as server:
        transport = DefaultAsyncHttpxClient(trust_env=False)
        async with sdk_type(
            **{"base_url": server.base_url, "api_key": KEY, "http_client": transport, **options}
        ) as sdk:
            client = driver_client("async", sdk, timeouts=timeouts, retry=RetryPolicy(max_attempts=1))
            try:
                return await client.complete("any")
            except StreamFailed as failure:
                return failure


@pytest.mark.usefixtures("_full_thread_pool")
async def test_full_thread_pool_delays_no_request() -> None:
    """A request of the SDK's own client needs no thread."""
    result = await ask(AsyncOpenAI, Timeouts(headers=5, first_token=5))
    assert isinstance(result, StreamResult)
    assert "pong" == result.text


@pytest.mark.usefixtures("_full_thread_pool")
@pytest.mark.parametrize("timeouts", [Timeouts(headers=0.2), Timeouts(total=0.2)])
async def test_request_that_was_not_sent_in_time_is_the_fault_of_the_process(timeouts: Timeouts) -> None:
    """If a timeout passes before the request is given to the transport, the provider is not to blame."""
    failed = await ask(SlowSdk, timeouts)
    assert isinstance(failed, StreamFailed)
    assert (FaultKind.CLIENT_DELAYED, Blame.LOCAL) == (failed.fault.kind, failed.fault.blame)
    assert "the timeout of 0.2 s passed before this process began to send the request" == failed.fault.message


@pytest.mark.usefixtures("_full_thread_pool")
async def test_slow_key_provider_is_not_excused() -> None:
    """The time of a key provider is part of the timeout for the headers."""
    failed = await ask(AsyncOpenAI, Timeouts(headers=0.2), api_key=key_from_thread)
    assert isinstance(failed, StreamFailed)
    assert FaultKind.HEADERS_TIMEOUT == failed.fault.kind
