"""A process without resources for a connection blames itself, and no network."""

import errno
import os

import pytest

from streamcanary import RetryPolicy, StreamFailed
from streamcanary.client.core.fault_classification import fault_from_exception
from streamcanary.model.faults import Blame, FaultKind, Phase
from streamcanary.transport.file_descriptors import RESERVED, highest_limit, limit_warning, raise_limit
from support.client.drivers import DRIVERS, Driver, driver_client, open_sdk_client
from support.open_files import open_files, soft_limit
from support.servers.simulator import wait_until
from support.servers.threaded import END, HEAD, TOKEN, ThreadedServer


@pytest.mark.parametrize("driver", DRIVERS)
async def test_process_without_file_descriptors_blames_itself(driver: Driver) -> None:
    """A call that finds no file descriptor for its connection is no fault of the network; the next call succeeds."""
    with ThreadedServer(lambda connection, _: connection.sendall(HEAD + TOKEN + END)) as server:
        async with open_sdk_client(driver, server.base_url) as sdk:
            client = driver_client(driver, sdk, retry=RetryPolicy(max_attempts=1))
            before = open_files()
            assert "pong" == (await client.complete("any")).text
            await wait_until(lambda: open_files() <= before)  # both ends of the connection close after the answer
            with soft_limit(None), pytest.raises(StreamFailed) as caught:
                await client.complete("any")
            fault = caught.value.fault
            assert "pong" == (await client.complete("any")).text
    assert (FaultKind.CLIENT_EXHAUSTED, Blame.LOCAL, Phase.CONNECT) == (fault.kind, fault.blame, fault.phase)
    assert fault.message.startswith("this process or its machine has no resources for another connection: ")


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [
        ([errno.EMFILE], FaultKind.CLIENT_EXHAUSTED),
        ([errno.ENFILE], FaultKind.CLIENT_EXHAUSTED),
        ([errno.ENOBUFS], FaultKind.CLIENT_EXHAUSTED),
        ([errno.ENOMEM], FaultKind.CLIENT_EXHAUSTED),
        ([errno.EADDRNOTAVAIL], FaultKind.CLIENT_EXHAUSTED),
        ([errno.EADDRNOTAVAIL, errno.ECONNREFUSED], FaultKind.CONNECT_FAILED),
        ([errno.ECONNREFUSED], FaultKind.CONNECT_FAILED),
        ([errno.EHOSTUNREACH], FaultKind.CONNECT_FAILED),
    ],
)
def test_error_of_the_operating_system_decides(numbers: list[int], kind: FaultKind) -> None:
    """The errors of all addresses of a host are examined: a machine without IPv6 is not exhausted."""
    error = OSError("All connection attempts failed")
    error.__cause__ = ExceptionGroup("attempts", [OSError(number, os.strerror(number)) for number in numbers])
    fault = fault_from_exception(error, Phase.HEADERS, now=0.0)
    assert fault is not None
    assert kind is fault.kind


def test_limit_of_open_files_is_raised() -> None:
    """The soft limit becomes the hard limit; limits that are too low for the canaries are reported."""
    with soft_limit(200):
        assert highest_limit() == raise_limit()
    assert limit_warning(100, 100 + RESERVED) is None
    assert "the canaries may have 101 runs at once" in (limit_warning(101, 100 + RESERVED) or "")
