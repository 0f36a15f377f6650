"""The one thread that looks after the deadlines of blocking reads."""

import socket
import time

from streamcanary.client.drivers.socket_timer import SocketTimer, Watchdog


def test_shuts_the_socket_down_at_the_deadline() -> None:
    """A read that outlasts its deadline ends as if the other side had closed, and the alarm says that it rang."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        alarm = SocketTimer(ours)
        alarm.arm(time.monotonic() + 0.01)
        assert (b"", True) == (ours.recv(1), alarm.has_expired())


def test_closed_alarms_do_not_pile_up() -> None:
    """Streams that end long before their deadlines leave nothing to look after, however many there are."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        before = Watchdog.open_timer_count()
        for _ in range(2000):
            alarm = SocketTimer(ours)
            alarm.arm(time.monotonic() + 60)
            alarm.close()
        assert (before, True) == (Watchdog.open_timer_count(), len(Watchdog._heap) < 500)
