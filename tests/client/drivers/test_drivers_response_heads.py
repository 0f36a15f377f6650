"""The head of a response that trickles in ends at the deadline, whatever connection it comes on."""

import socket
import threading

import pytest

from streamcanary import RetryPolicy, StreamFailed, Timeouts
from streamcanary.model.faults import Blame, FaultKind
from support.client.drivers import DRIVERS, Driver, driver_client, open_sdk_client
from support.servers.threaded import END, TOKEN, ThreadedServer, read_request

START = b"HTTP/1.1 200 OK\r\nx-padding: "
MAX_SENT = 40  # bytes, one every 0.1 s: four seconds, much longer than the timeouts of these tests
ONCE = RetryPolicy(max_attempts=1)


class Trickle:
    """Sends the head of a response byte by byte; ``sent`` is how many bytes the client has accepted."""

    def __init__(self) -> None:
        self.sent = 0

    def __call__(self, connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(START)
        while self.sent < MAX_SENT and not stop.wait(0.1):
            connection.sendall(b"x")
            self.sent += 1


@pytest.mark.parametrize("driver", DRIVERS)
async def test_trickled_head_ends_at_the_deadline(driver: Driver) -> None:
    """A byte from time to time does not postpone the timeout for the headers."""
    trickle = Trickle()
    with ThreadedServer(trickle) as server:
        async with open_sdk_client(driver, server.base_url) as sdk:
            client = driver_client(driver, sdk, timeouts=Timeouts(headers=0.5), retry=ONCE)
            with pytest.raises(StreamFailed) as caught:
                await client.complete("any")
    assert (FaultKind.HEADERS_TIMEOUT, Blame.PROVIDER) == (caught.value.fault.kind, caught.value.fault.blame)
    assert trickle.sent < MAX_SENT


@pytest.mark.parametrize("driver", DRIVERS)
async def test_trickled_head_on_a_used_connection_ends_at_the_deadline(driver: Driver) -> None:
    """The timeout for the headers also holds on a connection that has carried an answer before."""
    trickle, answer = Trickle(), TOKEN + END

    def serve(connection: socket.socket, stop: threading.Event) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"
        connection.sendall(head % len(answer) + answer)
        read_request(connection)
        trickle(connection, stop)

    with ThreadedServer(serve) as server:
        async with open_sdk_client(driver, server.base_url) as sdk:
            client = driver_client(driver, sdk, timeouts=Timeouts(headers=0.5), retry=ONCE)
            assert "pong" == (await client.complete("any")).text
            with pytest.raises(StreamFailed) as caught:
                await client.complete("any")
    assert (FaultKind.HEADERS_TIMEOUT, 1) == (caught.value.fault.kind, len(caught.value.attempts))
    assert 0 < trickle.sent < MAX_SENT
