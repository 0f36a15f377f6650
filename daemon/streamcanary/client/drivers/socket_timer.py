"""Deadlines for threads that block on a socket: one shared thread shuts the socket down when a deadline passes.

A blocking read cannot be cancelled, and the read timeout of the transport restarts with every byte, so with pings it
never expires. Shutting the socket down ends the read at once.
"""

import heapq
import itertools
import socket
import threading
import time
from contextlib import suppress
from typing import Any, ClassVar, Final

import httpx2

_IDLE_TIMEOUT: Final = 60.0  # seconds without a timer after which the thread ends
_MIN_SWEEP_SIZE: Final = 128  # entries; fewer are not worth a sweep


def socket_of(response: httpx2.Response) -> Any:
    """Return the socket of a response, or ``None`` if the transport does not expose it."""
    stream = response.extensions.get("network_stream")
    return stream.get_extra_info("socket") if stream is not None else None


class SocketTimer:
    """Shuts a socket down when the deadline of a blocking read passes.

    Call ``arm(deadline)`` before the read and ``disarm()`` after it; :meth:`has_expired` returns whether the deadline
    passed. Times are seconds of ``time.monotonic``. Without a socket (some transports do not expose it) it never
    expires. :class:`~streamcanary.client.drivers.task_timer.TaskTimer` does the same for tasks.
    """

    __slots__ = ("_deadline", "_has_fired", "_is_armed", "_lateness", "_lock", "_next_check", "_socket")

    def __init__(self, sock: socket.socket | None) -> None:
        self._socket = sock
        self._lock = threading.Lock()
        self._is_armed = False
        self._has_fired = False
        self._lateness = 0.0
        self._deadline = 0.0
        self._next_check: float | None = None

    def arm(self, deadline: float) -> None:
        """Shut the socket down at ``deadline``, unless disarmed before."""
        with self._lock:
            self._deadline, self._is_armed = deadline, True
            scheduled = self._next_check
            needs_check = scheduled is None or scheduled > deadline
            if needs_check:
                self._next_check = deadline
        if needs_check and self._socket is not None:
            Watchdog.watch(self, deadline)

    def disarm(self) -> bool:
        """End the current deadline; return whether one has passed, as :meth:`has_expired` does."""
        with self._lock:
            self._is_armed = False
            return self._has_fired

    def has_expired(self) -> bool:
        """Return whether a deadline has passed, and the socket was shut down."""
        return self._has_fired

    @property
    def lateness(self) -> float:
        """The seconds by which the expired deadline was noticed late.

        The thread that watches does nothing but wait. If it is late, this process had no CPU, or was stopped.
        """
        return self._lateness

    def close(self) -> None:
        """Release the socket; it is not shut down any more."""
        with self._lock:
            self._is_armed, self._socket = False, None

    @property
    def is_closed(self) -> bool:
        """Whether there is no socket to shut down."""
        return self._socket is None

    def check(self, scheduled: float, now: float) -> float | None:
        """Shut the socket down if the deadline has passed; return the time of the next check, if any."""
        with self._lock:
            if self._next_check != scheduled:
                return None  # an earlier check was scheduled meanwhile; it continues instead
            self._next_check = None
            if not self._is_armed or self._socket is None:
                return None
            if now < self._deadline:
                self._next_check = self._deadline
                return self._deadline
            self._has_fired, self._lateness = True, now - self._deadline
            with suppress(OSError):  # the server has already closed the connection
                # Not the method of a TLS socket, which would also drop its TLS state, in the middle of a read.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            return None


class Watchdog:
    """The thread that checks all timers of the process. It starts with the first timer, and ends when idle."""

    _condition: ClassVar[threading.Condition] = threading.Condition()
    _heap: ClassVar[list[tuple[float, int, SocketTimer]]] = []
    _order: ClassVar["itertools.count[int]"] = itertools.count()
    _thread: ClassVar[threading.Thread | None] = None
    _sweep_threshold: ClassVar[int] = _MIN_SWEEP_SIZE  # entries, above which those of closed timers are removed

    @classmethod
    def watch(cls, timer: SocketTimer, due: float) -> None:
        """Check ``timer`` at ``due``."""
        with cls._condition:
            if len(cls._heap) >= cls._sweep_threshold:
                cls._sweep()
            heapq.heappush(cls._heap, (due, next(cls._order), timer))
            if cls._thread is None or not cls._thread.is_alive():
                cls._thread = threading.Thread(target=cls._run, name="streamcanary watchdog", daemon=True)
                cls._thread.start()
            elif cls._heap[0][2] is timer:
                cls._condition.notify()

    @classmethod
    def open_timer_count(cls) -> int:
        """Return the number of open timers with a scheduled check."""
        with cls._condition:
            return len({id(timer) for _, _, timer in cls._heap if not timer.is_closed})

    @classmethod
    def _sweep(cls) -> None:
        cls._heap[:] = [entry for entry in cls._heap if not entry[2].is_closed]
        heapq.heapify(cls._heap)
        cls._sweep_threshold = max(_MIN_SWEEP_SIZE, 2 * len(cls._heap))

    @classmethod
    def _run(cls) -> None:
        while True:
            with cls._condition:
                while not cls._heap or (wait := cls._heap[0][0] - time.monotonic()) > 0:
                    idle = not cls._heap
                    if not cls._condition.wait(_IDLE_TIMEOUT if idle else wait) and idle and not cls._heap:
                        cls._thread = None
                        return
                due, _, timer = heapq.heappop(cls._heap)
            if (next_check := timer.check(due, time.monotonic())) is not None:
                cls.watch(timer, next_check)
