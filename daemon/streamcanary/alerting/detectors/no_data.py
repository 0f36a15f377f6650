"""``no_data``: a canary that should have been heard of was not."""

from typing import Annotated, Literal, Self

from pydantic import Field

from streamcanary.alerting.detectors.base import BaseDetector
from streamcanary.model.canary import Canary


class NoData(BaseDetector):
    """Fires when ``runs`` runs that the canary's schedule asks for left no sample: good, bad or neutral.

    A run of which the probe itself broke, or that did not come about, is none; one that the budget forbade is not
    missed. It starts to count anew when the daemon starts, when the clock jumps, and after a time in which the daemon
    itself was asleep. It resolves with the first sample. No measure, limit or blame goes with it.
    """

    type: Literal["no_data"]
    runs: Annotated[int, Field(ge=1, le=1000)] = 3

    @property
    def resolve_condition(self) -> str:
        """What resolves it, in words."""
        return "one run that says something, good or bad"

    def for_canary(self, canary: Canary) -> Self:
        """Return the detector as it is: it asks the same of every canary."""
        return self
