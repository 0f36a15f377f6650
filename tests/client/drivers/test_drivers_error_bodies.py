"""Bodies of error responses: read up to a limit of size and time, and decoded at most once."""

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streamcanary import Fault, RetryPolicy, StreamFailed, Timeouts
from streamcanary.model.faults import FaultKind
from support.client.drivers import DRIVERS, Driver, driver_client, open_sdk_client
from support.servers.hostile import HostileServer, double_gzip_bomb, endless, gzip_bomb
from support.servers.simulator import wait_until

HEAD = "HTTP/1.1 429 Too Many\ncontent-type: application/json\nretry-after: 7\nx-request-id: req_7"
ERROR = b'{"error": {"message": "Slow down", "code": "rate_limit_exceeded", "details": "'
UNREAD = "the server answered with an error, and its body has"
MEBIBYTE = 1 << 20

every_driver = pytest.mark.parametrize("driver", DRIVERS)


async def fault_of(driver: Driver, server: HostileServer, **options: Any) -> Fault:
    """Return the fault of a call with one attempt, after the server has seen the connection close."""
    async with open_sdk_client(driver, server.base_url) as sdk:
        client = driver_client(driver, sdk, retry=RetryPolicy(max_attempts=1), **options)
        with pytest.raises(StreamFailed) as caught:
            await client.complete("m")
        await wait_until(lambda: server.connections == 0)
    return caught.value.fault


@asynccontextmanager
async def serving(head: str, pieces: Callable[[], Iterable[bytes]], **options: Any) -> AsyncIterator[HostileServer]:
    async with HostileServer(head, pieces, **options) as server:
        yield server


def known(fault: Fault) -> tuple[object, ...]:
    """Return what the head of the response says about a fault."""
    return fault.kind, fault.status, fault.retry_after, fault.request_id


@every_driver
async def test_endless_body_is_read_up_to_a_limit(driver: Driver) -> None:
    """An error body without an end gives the fault of its status, with the message from its beginning."""
    async with serving(HEAD, endless(ERROR, b"x" * 65536)) as server:
        fault = await fault_of(driver, server)
    assert (FaultKind.RATE_LIMITED, 429, 7.0, "req_7") == known(fault)
    assert ("Slow down", "rate_limit_exceeded") == (fault.message, fault.code)


@every_driver
async def test_late_body_is_read_until_the_deadline(driver: Driver) -> None:
    """An error body that trickles in gives the fault of its status, with what arrived before the deadline."""
    async with serving(HEAD, endless(ERROR, b"x"), interval=0.02) as server:
        fault = await fault_of(driver, server, timeouts=Timeouts(headers=0.5))
    assert (FaultKind.RATE_LIMITED, 429, 7.0, "req_7") == known(fault)
    assert "Slow down" == fault.message


@every_driver
@pytest.mark.parametrize(
    ("coding", "bomb", "message"),
    [
        ("gzip", lambda: gzip_bomb(ERROR), "Slow down"),
        (
            "gzip, gzip",
            lambda: double_gzip_bomb(ERROR),
            f"{UNREAD} more than one content coding (gzip, gzip), which is not decoded",
        ),
        (
            "br",
            lambda: b"\x0b\x02\x80Slow\x03",
            f"{UNREAD} the content coding br, which the request did not offer in Accept-Encoding",
        ),
        ("gzip", lambda: b"Slow down", "the server answered with status 429"),
        ("gzip", lambda: gzip.compress(b"Slow down")[:-4], "Slow down"),
        ("deflate", lambda: zlib.compress(b"Slow down"), "Slow down"),
        ("deflate", lambda: zlib.compress(b"Slow down", wbits=-15), "Slow down"),
        ("identity", lambda: b"Slow down", "Slow down"),
    ],
)
async def test_body_is_decoded_once_and_with_a_bound(
    driver: Driver, coding: str, bomb: Callable[[], bytes], message: str
) -> None:
    """A compressed error body costs at most a few times its limit, and never hides what the status says."""
    body = bomb()
    head = f"{HEAD}\ncontent-encoding: {coding}\ncontent-length: {len(body)}"
    async with serving(head, lambda: [body]) as server:
        tracemalloc.start()
        try:
            fault = await fault_of(driver, server)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert (FaultKind.RATE_LIMITED, 429, 7.0, "req_7") == known(fault)
    assert (message, True) == (fault.message, peak < 8 * MEBIBYTE)
