"""The phases of a canary's attempts: names are resolved in a phase of their own."""

import asyncio
import socket
from typing import Any

import pytest

from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.model.clock import SystemClock
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import Attempt, Outcome
from streamcanary.simulator import Simulator
from support.servers.certificates import LOOPBACK, server_tls_context
from support.servers.simulator import FAST_TIMINGS
from support.servers.tcp import ConnectProxy

CLOCK = SystemClock()
ANSWER = {"headers", "first_token", "streaming"}


async def run(base_url: str, count: int = 1, *, connection: str = "new", **target: Any) -> list[Outcome]:
    """Run a canary ``count`` times, one after the other."""
    spec = {"target": "t", "model": "sim-ok", "connection": connection, "retry": {"max_attempts": 1}}
    targets = {"t": TargetSpec.model_validate({"base_url": base_url, "api_key": "sk-x", **target})}
    async with CanaryRunners(targets, {"c": CanarySpec.model_validate(spec)}, clock=CLOCK) as runners:
        return [await runners.by_name["c"](CLOCK.time()) for _ in range(count)]


def phase_names(attempt: Attempt) -> set[str]:
    """Return the phases that an attempt had."""
    return {name for name, _ in attempt.phases.items()}


def by_name(simulator: Simulator) -> str:
    """Return the address of the simulator with the name of the host."""
    return simulator.base_url.replace("127.0.0.1", "localhost")


@pytest.fixture(name="resolve_to")
def _resolve_to(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function after which every name has the given addresses."""

    def put(*addresses: str) -> None:
        async def getaddrinfo(_loop: object, host: object, port: int, **_: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)

    return put


@pytest.mark.parametrize("connection", ["new", "reuse"])
async def test_name_is_resolved_in_a_phase_of_its_own(connection: str) -> None:
    """The resolution of the host name is a phase; of an address there is none."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        [name] = await run(by_name(simulator), connection=connection)
        [address] = await run(simulator.base_url, connection=connection)
    assert (ANSWER | {"dns", "connect"}, ANSWER | {"connect"}) == (
        phase_names(name.attempts[0]),
        phase_names(address.attempts[0]),
    )


async def test_reused_connection_is_not_resolved_again() -> None:
    """With ``connection: reuse``, the second run has neither a resolution nor a connection to wait for."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        first, second = await run(by_name(simulator), 2, connection="reuse")
    assert [("new", ANSWER | {"dns", "connect"}), ("reused", ANSWER)] == [
        (outcome.attempts[0].connection, phase_names(outcome.attempts[0])) for outcome in (first, second)
    ]


async def test_every_run_of_a_new_connection_is_resolved() -> None:
    """With ``connection: new``, each run resolves the name, connects and does the handshake, as a new user would."""
    async with Simulator(timings=FAST_TIMINGS, ssl=server_tls_context(LOOPBACK)) as simulator:
        outcomes = await run(by_name(simulator), 2, ca_file=LOOPBACK)
    assert [("new", ANSWER | {"dns", "connect", "tls"})] * 2 == [
        (outcome.attempts[0].connection, phase_names(outcome.attempts[0])) for outcome in outcomes
    ]


async def test_phases_through_a_proxy() -> None:
    """Through a proxy, resolving and connecting are about the proxy, and the handshake is that with the endpoint."""
    async with (
        Simulator(timings=FAST_TIMINGS, ssl=server_tls_context(LOOPBACK)) as simulator,
        ConnectProxy(int(simulator.base_url.split(":")[2].partition("/")[0])) as proxy,
    ):
        proxy_url = proxy.url.replace("127.0.0.1", "localhost")
        [outcome] = await run(simulator.base_url, proxy=proxy_url, ca_file=LOOPBACK)
    assert (1, ANSWER | {"dns", "connect", "tls"}) == (len(proxy.heads), phase_names(outcome.attempts[0]))


async def test_name_that_does_not_exist() -> None:
    """A name that cannot be resolved is a fault of DNS, in the phase of the resolution."""
    [outcome] = await run("http://provider.invalid/v1")
    assert outcome.fault is not None
    assert (FaultKind.DNS_FAILED, {"dns"}) == (outcome.fault.kind, phase_names(outcome.attempts[0]))


async def test_next_address_is_tried(resolve_to: Any) -> None:
    """If an address of the host refuses the connection, the next one is tried."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        resolve_to("127.0.0.2", "127.0.0.1")
        [outcome] = await run(simulator.base_url.replace("127.0.0.1", "provider.invalid"))
    assert (None, "new") == (outcome.fault, outcome.attempts[0].connection)


async def test_no_address_accepts_the_connection(resolve_to: Any) -> None:
    """If every address refuses the connection, the fault is that of connecting, with the reason of the system."""
    async with Simulator(timings=FAST_TIMINGS) as stopped:
        base_url = stopped.base_url
    resolve_to("127.0.0.2", "127.0.0.3")
    [outcome] = await run(base_url.replace("127.0.0.1", "provider.invalid"))
    assert outcome.fault is not None
    assert (FaultKind.CONNECT_FAILED, {"dns", "connect"}) == (outcome.fault.kind, phase_names(outcome.attempts[0]))
    assert True is ("Connect call failed ('127.0.0." in outcome.fault.message)
