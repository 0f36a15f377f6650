"""What a detector says after a sample."""

from typing import Generic, NamedTuple, TypeVar

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
