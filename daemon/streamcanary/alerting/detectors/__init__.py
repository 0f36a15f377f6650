"""Detectors decide from a series of samples when an alert fires and when it resolves. Each has its own module.

A detector is a pydantic model: its configuration. ``for_stream`` returns the detector of one stream of samples, which
has one pure method over a small state: ``feed(state, bad=, at=, firing=)``. The state does not contain whether the
detector fires: the open incident does, so that the two cannot disagree, and an edited rule can resolve an incident that
was opened before the edit.
"""

from typing import Annotated

from pydantic import Field

from streamcanary.alerting.detectors.base import SampleStream, StreamDetector
from streamcanary.alerting.detectors.burn_rate import BurnRate, BurnRateState
from streamcanary.alerting.detectors.consecutive import Consecutive, ConsecutiveState
from streamcanary.alerting.detectors.cusum import Cusum, SpikeState
from streamcanary.alerting.detectors.no_data import NoData
from streamcanary.alerting.detectors.ratio import Ratio, RatioRingState, RatioState
from streamcanary.alerting.detectors.shift import Shift
from streamcanary.alerting.detectors.spike import Spike

SampleDetector = Ratio | Consecutive | BurnRate | Spike | Shift
"""A detector that evaluates samples, as opposed to missing runs."""

Detector = Annotated[SampleDetector | NoData, Field(discriminator="type")]
"""Any detector, discriminated by its ``type``."""

DetectorState = RatioState | RatioRingState | ConsecutiveState | BurnRateState | SpikeState
"""The state of any detector, tagged with the ``type`` of the detector."""

__all__ = [
    "BurnRate",
    "BurnRateState",
    "Consecutive",
    "ConsecutiveState",
    "Cusum",
    "Detector",
    "DetectorState",
    "NoData",
    "Ratio",
    "RatioRingState",
    "RatioState",
    "SampleDetector",
    "SampleStream",
    "Shift",
    "Spike",
    "SpikeState",
    "StreamDetector",
]
