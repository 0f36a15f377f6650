"""The phases of an attempt, and its connection: on attempts, on spans and in metrics, for both drivers."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI, OpenAI

from streamcanary import StreamFailed
from streamcanary.model.outcome import Attempt
from streamcanary.simulator import Simulator
from support.client.drivers import DRIVERS, KEY, Driver, DriverClient, driver_client
from support.servers.certificates import END_OF_2119, LOOPBACK, server_tls_context
from support.servers.simulator import FAST_TIMINGS
from support.telemetry.in_memory import RecordedTelemetry

EVENTS = b'data: {"choices": [{"delta": {"content": "pong"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
STREAMED = ["connect", "headers", "first_token", "streaming"]


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Driver:
    """Return each driver in turn."""
    driver: Driver = request.param
    return driver


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """Return a simulator with small waits."""
    async with Simulator() as simulator:
        yield simulator


@asynccontextmanager
async def open_client(driver: Driver, base_url: str, **http_options: Any) -> AsyncIterator[DriverClient]:
    """Yield a client whose HTTP client has ``http_options``, and close it on exit."""
    if driver == "async":
        async with (
            httpx2.AsyncClient(trust_env=False, **http_options) as http_client,
            AsyncOpenAI(base_url=base_url, api_key=KEY, http_client=http_client) as sdk,
        ):
            yield driver_client(driver, sdk, labels={"canary": "phases"})
    else:
        with (
            httpx2.Client(trust_env=False, **http_options) as sync_http_client,
            OpenAI(base_url=base_url, api_key=KEY, http_client=sync_http_client) as sync_sdk,
        ):
            yield driver_client(driver, sync_sdk, labels={"canary": "phases"})


def phase_names(attempt: Attempt) -> list[str]:
    """Return the phases that an attempt had."""
    return [name for name, _ in attempt.phases.items()]


async def test_phases_end_with_the_attempt(driver: Driver, simulator: Simulator) -> None:
    """The phases follow the preparation of the request to the end of the attempt; the last one begins with a token."""
    async with open_client(driver, simulator.base_url) as client:
        [attempt] = (await client.complete("sim-ok")).attempts
    phases = dict(attempt.phases.items())
    assert STREAMED == list(phases)
    assert attempt.time_to_first_token is not None
    assert pytest.approx(attempt.duration - attempt.time_to_first_token) == phases["streaming"]
    assert True is (0 < sum(phases.values()) < attempt.duration)


async def test_second_call_reuses_the_connection(driver: Driver, simulator: Simulator) -> None:
    """The first call opens a connection; the second one reuses it, and has no phase of connecting."""
    async with open_client(driver, simulator.base_url) as client:
        attempts = [(await client.complete("sim-ok")).attempts[0] for _ in range(2)]
    assert [("new", STREAMED), ("reused", STREAMED[1:])] == [(each.connection, phase_names(each)) for each in attempts]


async def test_handshake_is_a_phase(driver: Driver) -> None:
    """Over TLS, the handshake is a phase, and the expiry of the certificate is known."""
    context = ssl.create_default_context(cafile=LOOPBACK)
    async with (
        Simulator(ssl=server_tls_context(LOOPBACK)) as simulator,
        open_client(driver, simulator.base_url, verify=context) as client,
    ):
        [attempt] = (await client.complete("sim-ok")).attempts
    assert ["connect", "tls", "headers", "first_token", "streaming"] == phase_names(attempt)
    assert END_OF_2119 == attempt.certificate_expiry


@pytest.mark.parametrize(
    ("model", "phases"),
    [
        ("sim-reset", ["connect", "headers"]),
        ("sim-500", ["connect", "headers"]),
        ("sim-cut", ["connect", "headers", "first_token", "streaming"]),
        ("sim-empty", ["connect", "headers", "first_token"]),
    ],
)
async def test_failed_attempt_ends_with_the_phase_that_failed(driver: Driver, model: str, phases: list[str]) -> None:
    """The last phase of a failed attempt is the one in which it failed."""
    async with (
        Simulator(timings=FAST_TIMINGS) as simulator,
        open_client(driver, simulator.base_url) as client,
    ):
        with pytest.raises(StreamFailed) as failure:
            await client.complete(model)
    assert phases == phase_names(failure.value.attempts[0])


async def test_refused_connection(driver: Driver) -> None:
    """An attempt whose connection is refused has only the phase of connecting, and counts as no connection."""
    async with Simulator() as stopped:
        base_url = stopped.base_url
    async with open_client(driver, base_url) as client:
        with pytest.raises(StreamFailed) as failure:
            await client.complete("sim-ok")
    attempt = failure.value.attempts[0]
    assert (None, ["connect"]) == (attempt.connection, phase_names(attempt))


async def test_transport_without_trace_events(driver: Driver) -> None:
    """With a transport that has no trace events, the connection is unknown, and no phase of connecting is claimed."""
    headers = {"content-type": "text/event-stream"}
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, headers=headers, content=EVENTS))
    async with open_client(driver, "http://provider.invalid/v1", transport=transport) as client:
        [attempt] = (await client.complete("m")).attempts
    assert (None, {"headers", "first_token"}) == (attempt.connection, {*phase_names(attempt)} - {"streaming"})


async def test_trace_extension_of_the_caller_is_called(driver: Driver, simulator: Simulator) -> None:
    """A ``trace`` extension that the caller has set is called, too."""
    seen: list[str] = []

    async def trace_async(name: str, info: dict[str, Any]) -> None:
        seen.append(name)

    def trace(name: str, info: dict[str, Any]) -> None:
        seen.append(name)

    async with open_client(driver, simulator.base_url) as client:
        sdk: Any = client.client._routes._sdks[0]  # the copy that sends the requests
        build = sdk._build_request

        def build_request(*args: Any, **options: Any) -> httpx2.Request:
            request: httpx2.Request = build(*args, **options)
            request.extensions["trace"] = trace_async if driver == "async" else trace
            return request

        sdk._build_request = build_request
        [attempt] = (await client.complete("sim-ok")).attempts
    assert True is ("connection.connect_tcp.started" in seen)
    assert STREAMED == phase_names(attempt)


async def test_attempt_span_has_phases_and_connection(
    driver: Driver, simulator: Simulator, recorded: RecordedTelemetry
) -> None:
    """The span of the attempt has the duration of each phase in seconds, and the connection."""
    async with open_client(driver, simulator.base_url) as client:
        [attempt] = (await client.complete("sim-ok")).attempts
    [span] = [span for span in recorded.spans if span.name == "POST"]
    own = {
        key: value
        for key, value in (span.attributes or {}).items()
        if key.startswith("streamcanary.phase.") or key == "streamcanary.connection"
    }
    expected = {f"streamcanary.phase.{name}.duration": seconds for name, seconds in attempt.phases.items()}
    assert {**expected, "streamcanary.connection": "new"} == own


async def test_phases_are_measured(driver: Driver, simulator: Simulator, recorded: RecordedTelemetry) -> None:
    """Each phase is recorded once for each attempt that had it, and attempts are counted by their connection."""

    def measured() -> dict[str, float]:
        phase, connections = "streamcanary.attempt.phase.duration", "streamcanary.connections"
        labels = {"canary": "phases", "route": "sim-ok"}
        counts = {name: recorded.value(phase, **labels, phase=name) for name in ("tls", *STREAMED)}
        counts |= {kind: recorded.value(connections, canary="phases", connection=kind) for kind in ("new", "reused")}
        return counts

    before = measured()
    async with open_client(driver, simulator.base_url) as client:
        for _ in range(3):
            await client.complete("sim-ok")
    added = {name: value - before[name] for name, value in measured().items()}
    assert {"tls": 0, "connect": 1, "headers": 3, "first_token": 3, "streaming": 3, "new": 1, "reused": 2} == added
