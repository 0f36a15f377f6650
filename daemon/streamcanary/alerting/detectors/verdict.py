"""What a detector says after a sample, and who says it."""

from typing import Any, Generic, NamedTuple, Protocol, TypeVar

State = TypeVar("State")


class Tally(NamedTuple):
    """``bad`` of the last ``total`` samples were bad, the oldest seen at ``since`` (seconds since the epoch)."""

    bad: int
    total: int
    since: float

    @property
    def recovery(self) -> str:
        """What ended an outage, in words."""
        if self.bad:
            return f"recovered: {self.total - self.bad} of the last {self.total} runs were good"
        return (
            "recovered: the last run was good"
            if self.total == 1
            else f"recovered: the last {self.total} runs were good"
        )


class Verdict(NamedTuple, Generic[State]):
    """The state after a sample, whether it fires now, and what was counted."""

    state: State
    firing: bool
    tally: Tally


class Judge(Protocol):
    """A detector made ready for one canary."""

    @property
    def ends(self) -> str:
        """What resolves it, in words."""
        ...

    def feed(self, state: object, *, bad: bool, at: float, firing: bool) -> Verdict[Any]:
        """Return the verdict after one more sample, seen ``at`` (seconds since the epoch), on top of ``state``.

        Whatever is no state of this detector (``None``, or that of another one) starts it afresh. A sample that is bad
        never ends the firing, and one that is good never begins it, unless the detector says so.
        """
        ...
