"""The axes of the matrix: two APIs, two drivers, and every way that a connection can be and end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, Final, NamedTuple

from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI

from streamcanary import AsyncStreamClient, Attempt, RetryPolicy, StreamClient, StreamFailed, StreamResult
from streamcanary.model.clock import SystemClock
from streamcanary.simulator import Lifetime, Pace, Sent, Simulator
from support.client.calls import LargestJitter
from support.client.drivers import DRIVERS, KEY, Driver
from support.client.fault_table import NOTHING, Came, Row
from support.http_client import TRUST_NOBODY
from support.servers.simulator import APIS, Api, client_tls, server_tls

PACE: Final = Pace(first_token=0.0, chunk_gap=0.0, slow_gap=0.2, ping_gap=0.05, retry_after=0.2, hang=900.0)
"""Hanging faults hang for good, with many pings before a clock strikes; ``Retry-After`` is 0.2 s, or a whole second."""
RETRY: Final = RetryPolicy(max_attempts=2, base_delay=0.001, max_delay=0.001)
QUESTIONS: Final[dict[Api, dict[str, Any]]] = {
    "chat": {"messages": [{"role": "user", "content": "Reply with the single word pong."}]},
    "responses": {"input": "Reply with the single word pong."},
}
LAYERS: Final = ("plain", "tls", "tls-cut")
"""TCP alone; TLS, which says that nothing follows; TLS that ends without a word."""
LIFETIMES: Final[tuple[Lifetime, ...]] = ("keep-alive", "close", "eof")
_server_tls, _client_tls = cache(server_tls), cache(client_tls)


class SteadyClock(SystemClock):
    """Wall time that nobody sets, and so never goes back."""

    def __init__(self) -> None:
        self._ahead = super().time() - self.monotonic()

    def time(self) -> float:
        """Return seconds since the epoch."""
        return self.monotonic() + self._ahead


class HeldClock(SystemClock):
    """Wall time that stands still at a whole second, so that a date is as far off as it was meant to be."""

    def time(self) -> float:
        """Return seconds since the epoch."""
        return 1_800_000_000.0


class Way(NamedTuple):
    """One of the four ways to ask."""

    api: Api
    driver: Driver

    def __str__(self) -> str:
        return f"{self.api} {self.driver}"

    async def ask(
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
        options = {"retry": RETRY, "random": LargestJitter(), **options}
        wire: dict[str, Any] = {"trust_env": False, "verify": TRUST_NOBODY, **(transport or {})}
        question = {"model": model, **QUESTIONS[self.api]}
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
            ending = await asyncio.to_thread(_ask, base_url, key, wire, question, times, options)
        assert ending is not None
        return ending


def _ask(
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


WAYS: Final = tuple(Way(api, driver) for api in APIS for driver in DRIVERS)


@asynccontextmanager
async def serve(layer: str, lifetime: Lifetime = "keep-alive", **more: Any) -> AsyncIterator[Simulator]:
    """Run a simulator over ``layer``, whose connections last for ``lifetime``."""
    tls = {} if layer == "plain" else {"ssl": _server_tls(), "close_notify": layer == "tls"}
    async with Simulator(pace=PACE, connection=lifetime, **tls, **more) as simulator:
        yield simulator


def transport_of(layer: str) -> dict[str, Any]:
    """Return what a client's transport needs to trust the simulator over ``layer``."""
    return {} if layer == "plain" else {"verify": _client_tls()}


class Told(NamedTuple):
    """All that an attempt says, but for its times; ``fault`` is what it ended with, as a row of the table."""

    number: int
    route: str
    delay: float
    request_id: str | None
    chunks: int
    token: bool
    fault: tuple[Any, ...] | None


def expect(
    number: int, route: str, row: Row | None, sent: Sent | None, api: Api, *, came: Came = NOTHING, delay: float = 0.0
) -> Told:
    """Return what an attempt has to say that ended as ``row``, or, with ``None``, in an answer of which ``came`` that.

    ``sent`` is what the server answered; ``delay`` the seconds before the attempt.
    """
    came = came if row is None else row.came
    request_id = sent.request_id if sent else None
    fault = row and (row.kind, row.phase, row.blame, row.retried, row.status, row.code, row.retry_after, request_id)
    return Told(number, route, delay, request_id, came.of(api), came.token, fault)


def told(attempt: Attempt, *, most: int | None = None) -> Told:
    """Return what ``attempt`` says; of an endless stream, chunks are counted up to ``most``."""
    fault = attempt.fault
    return Told(
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


def answers(simulator: Simulator) -> list[Sent]:
    """Return the last answer to each attempt: a redirect is followed within one."""
    last: list[Sent] = []
    for request, sent in zip(simulator.requests, simulator.sent, strict=True):
        if request.model is None:
            last.pop()
        last.append(sent)
    return last
