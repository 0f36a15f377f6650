"""Event loops whose time is simulated: nothing waits, and hours take seconds.

A :class:`World` has one time for several machines, each with an event loop and clocks of its own. It runs the loop
whose next timer is due first. A machine can be paused, as by SIGSTOP, or crash; its wall clock can be wrong.
"""

import asyncio
import heapq
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

START = 1_800_000_000.0
"""The wall time at which a world begins: a Friday in January 2027."""


class World:
    """The time of all machines, in seconds since :data:`START`."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, int, Machine]] = []  # time, number of the entry, version of the machine
        self._entries = 0
        self.machines: list[Machine] = []
        self.turns = 0
        """How many times a loop has run until it had nothing to do."""

    def close(self) -> None:
        """Crash the machines that still run."""
        for machine in tuple(self.machines):
            machine.crash()

    def schedule(self, machine: "Machine", at: float) -> None:
        """Run the loop of ``machine`` at ``at``, instead of at the time that was scheduled before."""
        machine.version += 1
        self._entries += 1
        heapq.heappush(self._due, (at, self._entries, machine.version, machine))

    def run_until(self, end: float) -> None:
        """Run all machines until ``end``."""
        while self._due and self._due[0][0] <= end:
            at, _, version, machine = heapq.heappop(self._due)
            if version != machine.version or machine.is_paused:
                continue
            self.now = max(self.now, at)
            self.turns += 1
            machine.run_turn()
        self.now = max(self.now, end)

    def run_for(self, seconds: float) -> None:
        """Run all machines for ``seconds``."""
        self.run_until(self.now + seconds)

    def run(self, machine: "Machine", coroutine: Coroutine[Any, Any, T], within: float = 3600.0) -> T:
        """Run all machines until ``coroutine`` on ``machine`` has ended, and return its result."""
        task = machine.start(coroutine)
        end = self.now + within
        while not task.done():
            if not self._due or self._due[0][0] > end:
                raise TimeoutError(f"not done within {within:g} simulated seconds")
            self.run_until(self._due[0][0])
        return task.result()


class Machine:
    """An event loop in a :class:`World`, and a clock. Its wall clock is wrong by ``offset`` seconds."""

    def __init__(self, world: World, offset: float = 0.0) -> None:
        self.world = world
        self.offset = offset
        self.is_paused = False
        self.version = 0
        self._selector = _Selector(self)
        self.loop = _Loop(self)
        self.loop.set_exception_handler(self._record_error)
        self.errors: list[Mapping[str, Any]] = []
        """What callbacks and tasks raised that nobody waits for."""
        self._tasks: set[asyncio.Task[Any]] = set()
        world.machines.append(self)

    def start(self, coroutine: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Start a task on this machine."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.wake()
        return task

    def wake(self) -> None:
        """Run the loop at once: something outside has added work."""
        if not self.is_paused:
            self.world.schedule(self, self.world.now)

    def pause(self) -> None:
        """Stop the process, as by SIGSTOP: time goes on, and nothing runs."""
        self.is_paused = True

    def resume(self) -> None:
        """Continue the process."""
        self.is_paused = False
        self.wake()

    def crash(self) -> None:
        """End the process at once. The caller cuts the machine off from the others before."""
        if self.loop.is_closed():
            return
        self.is_paused = False
        self.loop.set_exception_handler(lambda *_: None)
        for _ in range(100):
            tasks = asyncio.all_tasks(self.loop)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.run_turn()
        self.version += 1
        self.is_paused = True
        self.loop.close()
        self.world.machines.remove(self)

    def time(self) -> float:
        """Return the wall time of this machine: seconds since the epoch."""
        return START + self.world.now + self.offset

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return self.world.now

    def run_turn(self) -> None:
        """Run the loop until it has nothing to do, and schedule its next timer."""
        self._selector.next_timer = None
        self.version += 1
        self.loop.run_forever()
        if self._selector.next_timer is not None:
            self.world.schedule(self, self._selector.next_timer)

    def _record_error(self, _: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        self.errors.append(context)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        super().__init__(machine._selector)

    def time(self) -> float:
        return self.machine.world.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> "asyncio.Future[T]":
        """Call ``func`` at once: a thread would run in real time."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - raised to the caller, as from a thread
            future.set_exception(error)
        return future


class _Selector(selectors.BaseSelector):
    """Waits for nothing: stops the loop when it would wait, and notes until when."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._keys: dict[Any, selectors.SelectorKey] = {}
        self.next_timer: float | None = None

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self._keys[fileobj] = selectors.SelectorKey(fileobj, -1, events, data)
        return self._keys[fileobj]

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            if timeout is not None:
                self.next_timer = self._machine.world.now + timeout
            self._machine.loop.stop()
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


def running_machine() -> Machine:
    """Return the machine whose loop runs now."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _Loop)
    return loop.machine
