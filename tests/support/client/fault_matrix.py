"""The dimensions of the fault matrix: API, driver, TLS and connection lifetime."""

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

TIMINGS: Final = Timings(first_token=0.0, chunk_gap=0.0, slow_gap=0.2, keepalive_gap=0.05, retry_after=0.2, hang=900.0)
"""Hanging faults outlast every timeout, with many pings before it; ``Retry-After`` is 0.2 s, or 1 s as an integer."""
RETRY: Final = RetryPolicy(max_attempts=2, base_delay=0.001, max_delay=0.001)
REQUESTS: Final[dict[Api, dict[str, Any]]] = {
    "chat": {"messages": [{"role": "user", "content": "Reply with the single word pong."}]},
    "responses": {"input": "Reply with the single word pong."},
}
LAYERS: Final = ("plain", "tls", "tls-cut")
"""Plain TCP; TLS with close_notify; TLS without close_notify."""
LIFETIMES: Final[tuple[ConnectionLifetime, ...]] = ("keep-alive", "close", "eof")
_server_tls, _client_tls = cache(server_tls), cache(client_tls)


class MonotonicWallClock(SystemClock):
    """Wall time that is never set, and so never goes back."""

    def __init__(self) -> None:
        self._ahead = super().time() - self.monotonic()

    def time(self) -> float:
        """Return seconds since the epoch."""
        return self.monotonic() + self._ahead


class ConstantWallClock(SystemClock):
    """Wall time constant at a whole second, so that a Retry-After date is exactly as far off as intended."""

    def time(self) -> float:
        """Return seconds since the epoch."""
        return 1_800_000_000.0


class ClientVariant(NamedTuple):
    """An API and a driver."""

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
        """Make ``times`` calls with one client; return the last result or failure. Delays are the maximum."""
        options = {"retry": RETRY, "random": MaxJitter(), **options}
        client_options: dict[str, Any] = {"trust_env": False, "verify": NO_CA_CONTEXT, **(transport or {})}
        request = {"model": model, **REQUESTS[self.api]}
        outcome: StreamResult | StreamFailed | None = None
        if self.driver == "async":
            async with AsyncOpenAI(
                base_url=base_url, api_key=key, http_client=DefaultAsyncHttpxClient(**client_options)
            ) as sdk:
                client = AsyncStreamClient(sdk, **options)
                for _ in range(times):
                    try:
                        outcome = await client.complete(**request)
                    except StreamFailed as failure:
                        outcome = failure
        else:
            outcome = await asyncio.to_thread(_call_sync, base_url, key, client_options, request, times, options)
        assert outcome is not None
        return outcome


def _call_sync(
    base_url: str,
    key: Any,
    client_options: dict[str, Any],
    request: dict[str, Any],
    times: int,
    options: dict[str, Any],
) -> StreamResult | StreamFailed | None:
    outcome: StreamResult | StreamFailed | None = None
    with OpenAI(base_url=base_url, api_key=key, http_client=DefaultHttpxClient(**client_options)) as sdk:
        client = StreamClient(sdk, **options)
        for _ in range(times):
            try:
                outcome = client.complete(**request)
            except StreamFailed as failure:
                outcome = failure
    return outcome


CLIENT_VARIANTS: Final = tuple(ClientVariant(api, driver) for api in APIS for driver in DRIVERS)


@asynccontextmanager
async def run_simulator(
    layer: str, lifetime: ConnectionLifetime = "keep-alive", **more: Any
) -> AsyncIterator[Simulator]:
    """Run a simulator over ``layer`` with connections of ``lifetime``."""
    tls = {} if layer == "plain" else {"ssl": _server_tls(), "close_notify": layer == "tls"}
    async with Simulator(timings=TIMINGS, connection=lifetime, **tls, **more) as simulator:
        yield simulator


def transport_options(layer: str) -> dict[str, Any]:
    """Return the transport options with which a client trusts the simulator over ``layer``."""
    return {} if layer == "plain" else {"verify": _client_tls()}


class AttemptSummary(NamedTuple):
    """An attempt without its times; ``fault`` is a tuple in the order of the fault table."""

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
    """Return the expected summary of an attempt that ends with the fault of ``row``, or with an answer if it is None.

    ``sent`` is the server's response, ``delay`` the seconds before the attempt, and ``received`` the counts of an
    answer.
    """
    received = received if row is None else row.received
    request_id = sent.request_id if sent else None
    fault = row and (row.kind, row.phase, row.blame, row.is_retried, row.status, row.code, row.retry_after, request_id)
    return AttemptSummary(number, route, delay, request_id, received.for_api(api), received.token, fault)


def summarize_attempt(attempt: Attempt, *, max_chunks: int | None = None) -> AttemptSummary:
    """Return the summary of ``attempt``; ``max_chunks`` bounds the chunk count of an endless stream."""
    fault = attempt.fault
    return AttemptSummary(
        attempt.number,
        attempt.route,
        attempt.delay,
        attempt.request_id,
        attempt.chunks if max_chunks is None else min(attempt.chunks, max_chunks),
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
