"""When a row of samples becomes an alert, and when it stops being one: one file a detector.

A detector is a pydantic model (its configuration) with one pure method over a small state: ``feed(state, bad=, at=,
firing=)``. It does not remember whether it fires: the open incident does, so that the two
cannot disagree, and an edited rule can resolve an incident that its former self opened.
"""

from typing import Annotated

from pydantic import Field

from streamcanary.alerting.detectors.consecutive import Consecutive, ConsecutiveState
from streamcanary.alerting.detectors.ratio import Ratio, RatioState

Detector = Annotated[Ratio | Consecutive, Field(discriminator="type")]
"""Any detector, told apart by its ``type``."""

DetectorState = RatioState | ConsecutiveState
"""What any detector remembers, told apart by a ``type`` of the same spelling."""

__all__ = ["Consecutive", "ConsecutiveState", "Detector", "DetectorState", "Ratio", "RatioState"]
