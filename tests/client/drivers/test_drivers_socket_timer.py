"""The thread that enforces the deadlines of blocking reads."""

import socket
import time

from streamcanary.client.drivers.socket_timer import SocketTimer, Watchdog


def test_socket_is_shut_down_at_the_deadline() -> None:
    """A read past its deadline returns as at end of file, and the timer reports that it has expired."""
    local, remote = socket.socketpair()
    with local, remote:
        timer = SocketTimer(local)
        timer.arm(time.monotonic() + 0.01)
        assert (b"", True) == (local.recv(1), timer.has_expired())


def test_closed_timers_are_removed() -> None:
    """Timers closed long before their deadlines are removed from the heap."""
    local, remote = socket.socketpair()
    with local, remote:
        before = Watchdog.open_timer_count()
        for _ in range(2000):
            timer = SocketTimer(local)
            timer.arm(time.monotonic() + 60)
            timer.close()
        assert (before, True) == (Watchdog.open_timer_count(), len(Watchdog._heap) < 500)
