"""The ``no_data`` detector: fires when scheduled runs of a canary report no result."""

from typing import Annotated, Literal, Self

from pydantic import Field

from streamcanary.alerting.detectors.base import BaseDetector, SampleStream


class NoData(BaseDetector):
    """Fires when ``runs`` scheduled runs of a canary have no sample: neither good, bad nor neutral.

    A run with an internal error of the probe and a run that did not start have no sample. A run that was skipped for
    the budget is not missing. Counting starts again when the daemon starts, when the clock jumps, and after the
    process was suspended. Resolves on the first sample. It takes no measure, limit or blame.
    """

    type: Literal["no_data"]
    runs: Annotated[int, Field(ge=1, le=1000)] = 3

    @property
    def resolve_condition(self) -> str:
        """What resolves the alert, as text."""
        return "a run with a result, good or bad"

    def for_stream(self, stream: SampleStream) -> Self:
        """Return the detector itself: it is the same for every stream."""
        return self
