"""A provider whose fault a test sets."""

from pydantic import PrivateAttr

from streamcanary.simulator import ConnectionLifetime, Phase, Simulator, Timeline, Timings

MODEL = "sim-timeline"
"""The model whose fault the test sets; other models such as ``sim-cut`` are unaffected."""

_FAST_TIMINGS = Timings(first_token=0.0, chunk_gap=0.0, retry_after=0.05, hang=900.0)  # hangs outlast every test


class FakeProvider(Simulator):
    """``async with FakeProvider() as provider``: responds with the fault that was set last, initially ``ok``.

    ``connection`` is the connection lifetime, as in the simulator.
    """

    def __init__(
        self, fault: str = "ok", *, pace: Timings = _FAST_TIMINGS, connection: ConnectionLifetime = "keep-alive"
    ) -> None:
        self._timeline_control = _ManualTimeline.at(fault)
        super().__init__(timings=pace, timeline=self._timeline_control, connection=connection)

    def set_fault(self, fault: str) -> None:
        """Respond with ``fault`` from now on to requests for :data:`MODEL`."""
        self._timeline_control.set_fault(fault)

    def stop_listening(self) -> None:
        """Refuse new connections from now on; open connections are still served."""
        assert self._server is not None
        self._server.close()

    def close_connections(self) -> None:
        """Close every open connection at once, also within a response; new connections are served."""
        for task in self._tasks:
            task.cancel()

    def request_count(self, model: str = MODEL) -> int:
        """Return the number of requests for ``model``."""
        return sum(request.model == model for request in self.requests)


class _ManualTimeline(Timeline):
    """A timeline whose phase a test sets, independent of the clock."""

    _changes: list[Phase] = PrivateAttr(default_factory=list)

    @classmethod
    def at(cls, fault: str) -> "_ManualTimeline":
        return cls(model=MODEL, phases=(Phase(at=0, fault=fault),))

    def phase_at(self, elapsed: float) -> Phase:
        return self._changes[-1] if self._changes else self.phases[0]

    def set_fault(self, fault: str) -> None:
        # Each change is a new phase, because the simulator counts requests per phase.
        self._changes.append(Phase(at=len(self._changes) + 1, fault=fault))
