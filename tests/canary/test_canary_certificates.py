"""The expiry of the certificates of an endpoint: on attempts and outcomes, on spans and in metrics."""

from pathlib import Path
from typing import Any

import pytest

from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.model.clock import SystemClock
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.simulator import Simulator
from streamcanary.transport.certificates import earliest_expiry, known_expiry
from support.servers.certificates import (
    CHAIN,
    CHAIN_WITH_EXPIRED,
    END_OF_2119,
    END_OF_CHAIN,
    END_OF_EXPIRED,
    EXPIRED,
    LOOPBACK,
    ROOT,
    WRONG_HOST,
    server_tls_context,
)
from support.servers.simulator import FAST_TIMINGS
from support.servers.tcp import ConnectProxy
from support.telemetry.in_memory import RecordedTelemetry

CLOCK = SystemClock()


def simulator_with(pem: Path) -> Simulator:
    """Return a simulator that serves TLS with the certificates in ``pem``."""
    return Simulator(timings=FAST_TIMINGS, ssl=server_tls_context(pem))


async def run(
    base_url: str, count: int = 1, *, fallback: dict[str, Any] | None = None, canary: str = "c", **options: Any
) -> list[Outcome]:
    """Run a canary ``count`` times; with ``fallback``, the target of its fallback."""
    connection, model = options.pop("connection", "new"), options.pop("model", "sim-ok")
    spec = {"target": "t", "model": model, "connection": connection, "retry": {"max_attempts": 1}}
    targets = {"t": TargetSpec.model_validate({"base_url": base_url, "api_key": "sk-x", **options})}
    if fallback is not None:
        targets["other"] = TargetSpec.model_validate({"api_key": "sk-x", **fallback})
        spec["fallbacks"] = [{"model": "sim-ok", "target": "other"}]
    async with CanaryRunners(targets, {canary: CanarySpec.model_validate(spec)}, clock=CLOCK) as runners:
        return [await runners.by_name[canary](CLOCK.time()) for _ in range(count)]


async def test_expiry_of_the_certificate() -> None:
    """An attempt over TLS shows when the certificate of the endpoint expires, and so does the outcome of the run."""
    async with simulator_with(LOOPBACK) as simulator:
        [outcome] = await run(simulator.base_url, ca_file=LOOPBACK)
    assert (END_OF_2119, END_OF_2119) == (outcome.attempts[0].certificate_expiry, outcome.certificate_expiry)


@pytest.mark.parametrize("pem", [CHAIN, CHAIN_WITH_EXPIRED])
async def test_earliest_certificate_of_the_chain_counts(pem: Path) -> None:
    """An authority in between that expires first counts; a certificate that is not needed does not."""
    async with simulator_with(pem) as simulator:
        [outcome] = await run(simulator.base_url, ca_file=ROOT)
    assert (OutcomeKind.OK, END_OF_CHAIN) == (outcome.kind, outcome.certificate_expiry)


@pytest.mark.parametrize(
    ("pem", "ca_file", "expiry"),
    [(EXPIRED, EXPIRED, END_OF_EXPIRED), (WRONG_HOST, WRONG_HOST, END_OF_2119), (CHAIN, LOOPBACK, END_OF_CHAIN)],
)
async def test_expiry_of_a_rejected_certificate(pem: Path, ca_file: Path, expiry: float) -> None:
    """If the certificate is rejected, the earliest expiry of the certificates that the endpoint sent is known, too."""
    async with simulator_with(pem) as simulator:
        [outcome] = await run(simulator.base_url, ca_file=ca_file)
    assert outcome.fault is not None
    assert (FaultKind.TLS_FAILED, expiry) == (outcome.fault.kind, outcome.certificate_expiry)


async def test_no_expiry_without_tls() -> None:
    """Without TLS there is no expiry."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        [outcome] = await run(simulator.base_url)
    assert (None, None) == (outcome.attempts[0].certificate_expiry, outcome.certificate_expiry)


async def test_expiry_on_a_reused_connection() -> None:
    """A run on a reused connection sees the certificates of its handshake, and one after an error status, too."""
    async with simulator_with(CHAIN) as simulator:
        runs = await run(simulator.base_url, 3, connection="reuse", ca_file=ROOT)
        errors = await run(simulator.base_url, 2, connection="reuse", ca_file=ROOT, model="sim-500")
    seen = [(each.attempts[0].connection, each.certificate_expiry) for each in (*runs, *errors)]
    assert [("new", END_OF_CHAIN), *[("reused", END_OF_CHAIN)] * 2] == seen[:3]
    assert [END_OF_CHAIN] * 2 == [expiry for _, expiry in seen[3:]]


async def test_expiry_on_a_reused_connection_through_a_proxy() -> None:
    """Through a proxy, the certificate of a reused connection is that of the endpoint."""
    async with simulator_with(CHAIN) as simulator, ConnectProxy(int(simulator.base_url.split(":")[2][:-3])) as proxy:
        runs = await run(simulator.base_url, 2, connection="reuse", proxy=proxy.url, ca_file=ROOT)
    seen = [(each.attempts[0].connection, each.certificate_expiry) for each in runs]
    assert [("new", END_OF_CHAIN), ("reused", END_OF_CHAIN)] == seen


def test_expiry_of_a_connection_is_determined_once() -> None:
    """A certificate is decoded once for each connection, not for each request on it."""
    connection = VerifiedConnection({"notAfter": "Jan  1 00:00:00 2100 GMT"})
    assert END_OF_CHAIN == known_expiry(connection)
    connection._certificate = {}
    assert END_OF_CHAIN == known_expiry(connection)


async def test_certificate_of_a_proxy_is_not_that_of_the_endpoint() -> None:
    """Through a proxy over TLS, the certificate is that of the endpoint."""
    async with simulator_with(CHAIN) as simulator, ConnectProxy(int(simulator.base_url.split(":")[2][:-3])) as proxy:
        [outcome] = await run(simulator.base_url, proxy=proxy.url, ca_file=ROOT)
    assert (1, END_OF_CHAIN) == (len(proxy.heads), outcome.certificate_expiry)


async def test_certificate_of_a_fallback_is_not_that_of_the_primary() -> None:
    """The outcome has the expiry of the primary; that of a fallback is only on its attempt."""
    async with Simulator(timings=FAST_TIMINGS) as stopped:
        base_url = stopped.base_url
    async with simulator_with(LOOPBACK) as simulator:
        [outcome] = await run(base_url, fallback={"base_url": simulator.base_url, "ca_file": LOOPBACK})
    assert (OutcomeKind.FAILED_OVER, None, END_OF_2119) == (
        outcome.kind,
        outcome.certificate_expiry,
        outcome.attempts[-1].certificate_expiry,
    )


async def test_expiry_is_on_the_span_and_in_the_metrics(recorded: RecordedTelemetry) -> None:
    """The span of the attempt and the gauge of the canary have the expiry in seconds since the epoch."""
    async with simulator_with(CHAIN) as simulator:
        await run(simulator.base_url, canary="certified", ca_file=ROOT)
    [span] = [span for span in recorded.spans if span.name == "POST"]
    name = "streamcanary.tls.certificate.expiry"
    assert (END_OF_CHAIN, END_OF_CHAIN) == (
        (span.attributes or {}).get(name),
        recorded.value(name, canary="certified", target="t", provider="openai"),
    )


class VerifiedConnection:
    """A connection of a version of Python without the internal functions for chains."""

    def __init__(self, certificate: dict[str, str]) -> None:
        self._certificate = certificate

    def getpeercert(self) -> dict[str, str]:
        """Return the certificate of the server, decoded as by the ssl module."""
        return self._certificate


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        (VerifiedConnection({"notAfter": "Jan  1 00:00:00 2100 GMT"}), END_OF_CHAIN),
        (VerifiedConnection({}), None),
        (VerifiedConnection({"notAfter": "no time"}), None),
        (None, None),
    ],
)
def test_certificate_of_the_server_is_used_without_a_chain(connection: object, expected: float | None) -> None:
    """If the chain cannot be read, the expiry is that of the server's own certificate, if that can be read."""
    assert expected == earliest_expiry(connection)
