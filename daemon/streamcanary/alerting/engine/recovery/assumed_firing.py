"""Alerts that may have fired before a data loss: they count as firing until their rule would have resolved them."""

from msgspec import Struct

from streamcanary.alerting.detectors import DetectorState, StreamDetector


class AssumedFiring(Struct, frozen=True, omit_defaults=True):
    """The state of a detector that is started as if its alert had been firing before the data loss.

    ``detector`` is ``None`` before the first sample, and for a rule without a detector of samples. It is separate from
    the state of the detector that decides whether the alert fires: that one starts without a firing alert.
    """

    detector: DetectorState | None = None

    def feed(self, detector: StreamDetector, *, bad: bool, at: float) -> "AssumedFiring | None":
        """Return the state after a sample at ``at`` (seconds since the epoch); ``None`` once ``detector`` resolves."""
        result = detector.feed(self.detector, bad=bad, at=at, firing=True)
        return AssumedFiring(result.state) if result.is_firing else None
