"""Deadlines for threads that wait in a socket: one shared thread watches them all, and shuts the socket down.

A blocking read cannot be cancelled, and the transport's own timeout starts anew with every byte, so that pings keep it
from ever striking. A socket that is shut down ends the read at once.
"""

import heapq
import itertools
import socket
import threading
import time
from contextlib import suppress
from typing import ClassVar, Final

_IDLE_TIMEOUT: Final = 60.0  # seconds without a deadline after which the thread ends
_MIN_SWEEP_SIZE: Final = 128  # entries that are not worth a sweep


class SocketTimer:
    """Shuts ``sock`` down when the deadline of a wait passes, as :class:`~streamcanary.client.drivers.task_timer.Alarm` cancels.

    Around a wait: ``alarm.arm(deadline)`` and ``alarm.disarm()``; :meth:`rang` tells whether it struck. Times are
    seconds of ``time.monotonic``. Without a socket (a transport that does not show its own) it never strikes.
    """

    __slots__ = ("_deadline", "_has_fired", "_is_armed", "_lock", "_next_check", "_socket")

    def __init__(self, sock: socket.socket | None) -> None:
        self._socket = sock
        self._lock = threading.Lock()
        self._is_armed = False
        self._has_fired = False
        self._deadline = 0.0
        self._next_check: float | None = None

    def arm(self, deadline: float) -> None:
        """Shut the socket down, unless it is disarmed before ``deadline``."""
        with self._lock:
            self._deadline, self._is_armed = deadline, True
            scheduled = self._next_check
            needs_check = scheduled is None or scheduled > deadline
            if needs_check:
                self._next_check = deadline
        if needs_check and self._socket is not None:
            Watchdog.watch(self, deadline)

    def disarm(self) -> None:
        """Let the current wait be."""
        with self._lock:
            self._is_armed = False

    def has_expired(self) -> bool:
        """Tell whether the deadline has struck."""
        return self._has_fired

    def close(self) -> None:
        """Let go of the socket: no deadline will come any more."""
        with self._lock:
            self._is_armed, self._socket = False, None

    @property
    def is_closed(self) -> bool:
        """Whether there is no socket to shut down."""
        return self._socket is None

    def check(self, scheduled: float, now: float) -> float | None:
        """Strike if it is time; return when to look again, or ``None`` if the next wait will say."""
        with self._lock:
            if self._next_check != scheduled:
                return None  # an earlier look was asked for meanwhile, and that one goes on
            self._next_check = None
            if not self._is_armed or self._socket is None:
                return None
            if now < self._deadline:
                self._next_check = self._deadline
                return self._deadline
            self._has_fired = True
            with suppress(OSError):  # the other side was quicker
                # The plain method: that of a TLS socket would also forget its TLS, in the middle of a read.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            return None


class Watchdog:
    """The thread that looks after all alarms of the process. It starts when it is needed, and ends when it is not."""

    _condition: ClassVar[threading.Condition] = threading.Condition()
    _heap: ClassVar[list[tuple[float, int, SocketTimer]]] = []
    _order: ClassVar["itertools.count[int]"] = itertools.count()
    _thread: ClassVar[threading.Thread | None] = None
    _sweep_threshold: ClassVar[int] = _MIN_SWEEP_SIZE  # entries, beyond which those of closed alarms are swept out

    @classmethod
    def watch(cls, timer: SocketTimer, due: float) -> None:
        """Look at ``alarm`` at ``due``."""
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
        """Return how many alarms are open and looked after."""
        with cls._condition:
            return len({id(alarm) for _, _, alarm in cls._heap if not alarm.is_closed})

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
