"""Steps that connect: addresses, connections that are refused or never answer."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from streamcanary.model.diagnosis import StepName, StepState
from streamcanary.model.faults import FaultKind
from streamcanary.simulator import Simulator
from support.diagnosis import assert_first_failure, never_answer, run_diagnosis
from support.servers.simulator import wait_until
from support.servers.tcp import TcpServer


@pytest.mark.parametrize("host", ["nowhere.invalid", f"{'a' * 64}.invalid"])
async def test_a_host_without_addresses_fails(host: str) -> None:
    """A host in the top-level domain ``invalid``, which has no addresses by RFC 6761, fails at the step DNS."""
    diagnosis = await run_diagnosis(f"https://{host}/v1")
    assert_first_failure(diagnosis, StepName.DNS, FaultKind.DNS_FAILED, host, "check the host in base_url")


def patch_dns(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Make every name resolve to ``addresses``, or never without one; tests have no name server."""

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        if not addresses:
            await asyncio.Event().wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def test_a_name_server_without_answer_fails_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that does not answer fails at the time limit, with a remedy."""
    patch_dns(monkeypatch)
    diagnosis = await run_diagnosis("https://api.example.com/v1", seconds=0.05)
    assert_first_failure(
        diagnosis, StepName.DNS, FaultKind.DNS_FAILED, "no answer from the name server within 0.05 s", "port 53"
    )


async def test_every_address_is_tried(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that refuses the connection does not hide another one that accepts it."""
    patch_dns(monkeypatch, "127.0.0.2", "127.0.0.1")
    diagnosis = await run_diagnosis(f"http://provider.invalid:{simulator.port}/v1", "sim-ok")
    assert "provider.invalid resolves to 127.0.0.2, 127.0.0.1" == diagnosis.steps[2].message
    assert "127.0.0.2: connection refused; 127.0.0.1: connected in " in diagnosis.steps[3].message
    assert StepState.OK is diagnosis.steps[3].state


async def test_a_refused_connection_fails() -> None:
    """A closed port fails at the step TCP with "connection refused"."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        diagnosis = await run_diagnosis(f"http://127.0.0.1:{port}/v1")
    step = assert_first_failure(diagnosis, StepName.TCP, FaultKind.CONNECT_FAILED, "firewall or network policy")
    assert f"port {port} at 127.0.0.1: connection refused" == step.message


@pytest.fixture
def unresponsive_port() -> Iterator[int]:
    """Return a port with a full backlog: connections to it get no answer."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_a_connection_without_answer_times_out(unresponsive_port: int) -> None:
    """A connection without any answer is reported as a timeout, and not as refused."""
    diagnosis = await run_diagnosis(f"http://127.0.0.1:{unresponsive_port}/v1", seconds=0.2)
    assert_first_failure(
        diagnosis, StepName.TCP, FaultKind.CONNECT_TIMEOUT, "127.0.0.1: no answer within 0.2 s", "firewall"
    )


async def test_cancellation_closes_the_connection() -> None:
    """A cancelled diagnosis ends at once and closes its connection."""
    async with TcpServer(never_answer) as listener:
        task = asyncio.create_task(run_diagnosis(listener.base_url))
        await wait_until(lambda: listener.connections > 0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_until(lambda: listener.connections == 0)
