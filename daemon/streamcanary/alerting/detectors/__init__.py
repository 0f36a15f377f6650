"""When a row of samples becomes an alert, and when it stops being one: one file a detector.

A detector is a pydantic model (its configuration). ``for_canary`` makes it ready for one canary; what that returns
has one pure method over a small state: ``feed(state, bad=, at=, firing=)``. It does not remember whether it fires:
the open incident does, so that the two cannot disagree, and an edited rule can resolve an incident that its former
self opened.
"""

from typing import Annotated

from pydantic import Field

from streamcanary.alerting.detectors.base import CanaryDetector
from streamcanary.alerting.detectors.burn_rate import BurnRate, BurnRateState
from streamcanary.alerting.detectors.consecutive import Consecutive, ConsecutiveState
from streamcanary.alerting.detectors.no_data import NoData
from streamcanary.alerting.detectors.ratio import Ratio, RatioState
from streamcanary.alerting.detectors.spike import Cusum, Spike, SpikeState

SampleDetector = Ratio | Consecutive | BurnRate | Spike
"""A detector that looks at samples, and not at their absence."""

Detector = Annotated[SampleDetector | NoData, Field(discriminator="type")]
"""Any detector, told apart by its ``type``."""

DetectorState = RatioState | ConsecutiveState | BurnRateState | SpikeState
"""What any detector remembers, told apart by a ``type`` of the same spelling."""

__all__ = [
    "BurnRate",
    "BurnRateState",
    "CanaryDetector",
    "Consecutive",
    "ConsecutiveState",
    "Cusum",
    "Detector",
    "DetectorState",
    "NoData",
    "Ratio",
    "RatioState",
    "SampleDetector",
    "Spike",
    "SpikeState",
]
