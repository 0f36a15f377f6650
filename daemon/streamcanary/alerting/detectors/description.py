"""Detectors in words, as the status page shows them."""

from streamcanary.alerting.detectors import BurnRate, Consecutive, Detector, NoData, Ratio, Shift, Spike
from streamcanary.alerting.detectors.shift import format_factor
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.config_types.fraction import format_fraction


def describe_detector(detector: Detector) -> str:
    """Return ``detector`` in words: its type, and what makes it fire."""
    match detector:
        case Spike():
            normal = detector.normal if isinstance(detector.normal, str) else format_fraction(detector.normal)
            return f"spike: {format_fraction(detector.spike)} of runs bad rather than {normal}"
        case Shift():
            return f"shift: {format_factor(detector.worse)} worse than usual"
        case Ratio():
            hold = f" for {format_duration(detector.hold)}" if detector.hold else ""
            return f"ratio: {format_fraction(detector.threshold)} of the last {detector.over} bad{hold}"
        case Consecutive():
            return f"consecutive: {detector.failures} bad run{_plural(detector.failures)} in a row"
        case BurnRate():
            return f"burn rate: objective {format_fraction(detector.objective)}"
        case NoData():
            return f"no data: {detector.runs} run{_plural(detector.runs)} without a result"


def _plural(count: int) -> str:
    return "" if count == 1 else "s"
