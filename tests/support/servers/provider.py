"""A provider whose health a test turns by hand."""

from pydantic import PrivateAttr

from streamcanary.simulator import Lifetime, Pace, Phase, Simulator, Timeline

MODEL = "sim-timeline"
"""The model that is well or not as the test says; ``sim-cut`` and its like go on as always."""

_PROMPT = Pace(first_token=0.0, chunk_gap=0.0, retry_after=0.05, hang=900.0)  # whoever waits for a hang has to leave


class Provider(Simulator):
    """``async with Provider() as provider``: plays the fault that was turned to last; ``ok`` to begin with.

    ``connection`` is how long a connection lasts, as the simulator's.
    """

    def __init__(self, fault: str = "ok", *, pace: Pace = _PROMPT, connection: Lifetime = "keep-alive") -> None:
        self._hand = _Hand.at(fault)
        super().__init__(pace=pace, timeline=self._hand, connection=connection)

    def turn(self, fault: str) -> None:
        """Play ``fault`` from now on, to whoever asks for :data:`MODEL`."""
        self._hand.turn(fault)

    def hang_up(self) -> None:
        """End every connection now, in the middle of whatever it is at; the next ones are served."""
        for task in self._tasks:
            task.cancel()

    def asked(self, model: str = MODEL) -> int:
        """Return how often ``model`` was asked for."""
        return sum(request.model == model for request in self.requests)


class _Hand(Timeline):
    """A timeline that follows a hand and not the clock."""

    _turned: list[Phase] = PrivateAttr(default_factory=list)

    @classmethod
    def at(cls, fault: str) -> "_Hand":
        return cls(model=MODEL, phases=(Phase(at=0, fault=fault),))

    def phase(self, elapsed: float) -> Phase:
        return self._turned[-1] if self._turned else self.phases[0]

    def turn(self, fault: str) -> None:
        # Each turn is a phase of its own: the simulator counts the requests of a phase.
        self._turned.append(Phase(at=len(self._turned) + 1, fault=fault))
