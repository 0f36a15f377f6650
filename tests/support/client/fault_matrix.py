"""The axes of the matrix: two APIs, two drivers, and every way that a connection can be and end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, Final, NamedTuple

from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI

from streamcanary import AsyncStreamClient, Attempt, RetryPolicy, StreamClient, StreamFailed, StreamResult
from streamcanary.model.clock import SystemClock
from streamcanary.simulator import ConnectionLifetime, RecordedResponse, Simulator, Timings
from support.client.calls import MaxJitter
from support.client.drivers import DRIVERS, KEY, Driver
from support.client.fault_table import NOTHING_RECEIVED, FaultRow, ReceivedCounts
from support.http_client import NO_CA_CONTEXT
from support.servers.simulator import APIS, Api, client_tls, server_tls

PACE: Final = Timings(first_token=0.0, chunk_gap=0.0, slow_gap=0.2, keepalive_gap=0.05, retry_after=0.2, hang=900.0)
"""Hanging faults hang for good, with many pings before a clock strikes; ``Retry-After`` is 0.2 s, or a whole second."""
RETRY: Final = RetryPolicy(max_attempts=2, base_delay=0.001, max_delay=0.001)
REQUESTS: Final[dict[Api, dict[str, Any]]] = {
    "chat": {"messages": [{"role": "user", "content": "Reply with the single word pong."}]},
    "responses": {"input": "Reply with the single word pong."},
}
LAYERS: Final = ("plain", "tls", "tls-cut")
"""TCP alone; TLS, which says that nothing follows; TLS that ends without a word."""
LIFETIMES: Final[tuple[ConnectionLifetime, ...]] = ("keep-alive", "close", "eof")
_server_tls, _client_tls = cache(server_tls), cache(client_tls)


class MonotonicWallClock(SystemClock):
    """Wall time that nobody sets, and so never goes back."""

    def __init__(self) -> None:
        self._ahead = super().time() - self.monotonic()

    def time(self) -> float:
        """Return seconds since the epoch."""
        return self.monotonic() + self._ahead


class ConstantWallClock(SystemClock):
    """Wall time that stands still at a whole second, so that a date is as far off as it was meant to be."""

    def time(self) -> float:
        """Return seconds since the epoch."""
        return 1_800_000_000.0


class ClientVariant(NamedTuple):
    """One of the four ways to ask."""

    api: Api
    driver: Driver

    def __str__(self) -> str:
        return f"{self.api} {self.driver}"

    async def call(
        self,
        base_url: str,
        model: str,
        *,
        key: Any = KEY,
        transport: dict[str, Any] | None = None,
        times: int = 1,
        **options: Any,
    ) -> StreamResult | StreamFailed:
        """Ask ``times`` times with one client, and return what the last call ended with; the first wait is its cap."""
        options = {"retry": RETRY, "random": MaxJitter(), **options}
        wire: dict[str, Any] = {"trust_env": False, "verify": NO_CA_CONTEXT, **(transport or {})}
        question = {"model": model, **REQUESTS[self.api]}
        ending: StreamResult | StreamFailed | None = None
        if self.driver == "async":
            async with AsyncOpenAI(base_url=base_url, api_key=key, http_client=DefaultAsyncHttpxClient(**wire)) as sdk:
                client = AsyncStreamClient(sdk, **options)
                for _ in range(times):
                    try:
                        ending = await client.complete(**question)
                    except StreamFailed as failure:
                        ending = failure
        else:
            ending = await asyncio.to_thread(_call_sync, base_url, key, wire, question, times, options)
        assert ending is not None
        return ending


def _call_sync(
    base_url: str, key: Any, wire: dict[str, Any], question: dict[str, Any], times: int, options: dict[str, Any]
) -> StreamResult | StreamFailed | None:
    ending: StreamResult | StreamFailed | None = None
    with OpenAI(base_url=base_url, api_key=key, http_client=DefaultHttpxClient(**wire)) as sdk:
        client = StreamClient(sdk, **options)
        for _ in range(times):
            try:
                ending = client.complete(**question)
            except StreamFailed as failure:
                ending = failure
    return ending


CLIENT_VARIANTS: Final = tuple(ClientVariant(api, driver) for api in APIS for driver in DRIVERS)


@asynccontextmanager
async def run_simulator(
    layer: str, lifetime: ConnectionLifetime = "keep-alive", **more: Any
) -> AsyncIterator[Simulator]:
    """Run a simulator over ``layer``, whose connections last for ``lifetime``."""
    tls = {} if layer == "plain" else {"ssl": _server_tls(), "close_notify": layer == "tls"}
    async with Simulator(timings=PACE, connection=lifetime, **tls, **more) as simulator:
        yield simulator


def transport_options(layer: str) -> dict[str, Any]:
    """Return what a client's transport needs to trust the simulator over ``layer``."""
    return {} if layer == "plain" else {"verify": _client_tls()}


class AttemptSummary(NamedTuple):
    """All that an attempt says, but for its times; ``fault`` is what it ended with, as a row of the table."""

    number: int
    route: str
    delay: float
    request_id: str | None
    chunks: int
    token: bool
    fault: tuple[Any, ...] | None


def expected_attempt(
    number: int,
    route: str,
    row: FaultRow | None,
    sent: RecordedResponse | None,
    api: Api,
    *,
    received: ReceivedCounts = NOTHING_RECEIVED,
    delay: float = 0.0,
) -> AttemptSummary:
    """Return what an attempt has to say that ended as ``row``, or, with ``None``, in an answer of which ``came`` that.

    ``sent`` is what the server answered; ``delay`` the seconds before the attempt.
    """
    received = received if row is None else row.received
    request_id = sent.request_id if sent else None
    fault = row and (row.kind, row.phase, row.blame, row.is_retried, row.status, row.code, row.retry_after, request_id)
    return AttemptSummary(number, route, delay, request_id, received.for_api(api), received.token, fault)


def summarize_attempt(attempt: Attempt, *, most: int | None = None) -> AttemptSummary:
    """Return what ``attempt`` says; of an endless stream, chunks are counted up to ``most``."""
    fault = attempt.fault
    return AttemptSummary(
        attempt.number,
        attempt.route,
        attempt.delay,
        attempt.request_id,
        attempt.chunks if most is None else min(attempt.chunks, most),
        attempt.time_to_first_token is not None,
        fault
        and (
            fault.kind,
            fault.phase,
            fault.blame,
            fault.retryable,
            fault.status,
            fault.code,
            fault.retry_after,
            fault.request_id,
        ),
    )


def final_responses(simulator: Simulator) -> list[RecordedResponse]:
    """Return the last answer to each attempt: a redirect is followed within one."""
    last: list[RecordedResponse] = []
    for request, sent in zip(simulator.requests, simulator.responses, strict=True):
        if request.model is None:
            last.pop()
        last.append(sent)
    return last
