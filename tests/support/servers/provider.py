"""A provider whose health a test turns by hand."""

from pydantic import PrivateAttr

from streamcanary.simulator import ConnectionLifetime, Phase, Simulator, Timeline, Timings

MODEL = "sim-timeline"
"""The model that is well or not as the test says; ``sim-cut`` and its like go on as always."""

_FAST_PACE = Timings(
    first_token=0.0, chunk_gap=0.0, retry_after=0.05, hang=900.0
)  # whoever waits for a hang has to leave


class FakeProvider(Simulator):
    """``async with Provider() as provider``: plays the fault that was turned to last; ``ok`` to begin with.

    ``connection`` is how long a connection lasts, as the simulator's.
    """

    def __init__(
        self, fault: str = "ok", *, pace: Timings = _FAST_PACE, connection: ConnectionLifetime = "keep-alive"
    ) -> None:
        self._hand = _ManualTimeline.at(fault)
        super().__init__(timings=pace, timeline=self._hand, connection=connection)

    def set_fault(self, fault: str) -> None:
        """Play ``fault`` from now on, to whoever asks for :data:`MODEL`."""
        self._hand.set_fault(fault)

    def close_connections(self) -> None:
        """End every connection now, in the middle of whatever it is at; the next ones are served."""
        for task in self._tasks:
            task.cancel()

    def request_count(self, model: str = MODEL) -> int:
        """Return how often ``model`` was asked for."""
        return sum(request.model == model for request in self.requests)


class _ManualTimeline(Timeline):
    """A timeline that follows a hand and not the clock."""

    _turned: list[Phase] = PrivateAttr(default_factory=list)

    @classmethod
    def at(cls, fault: str) -> "_ManualTimeline":
        return cls(model=MODEL, phases=(Phase(at=0, fault=fault),))

    def phase_at(self, elapsed: float) -> Phase:
        return self._turned[-1] if self._turned else self.phases[0]

    def set_fault(self, fault: str) -> None:
        # Each turn is a phase of its own: the simulator counts the requests of a phase.
        self._turned.append(Phase(at=len(self._turned) + 1, fault=fault))
