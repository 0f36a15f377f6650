"""The state of a detector after a long time at one error rate, without the samples of that time."""

from streamcanary.alerting.detectors import BurnRate, BurnRateState, Ratio, RatioState, StreamDetector
from streamcanary.alerting.detectors.ratio import MAX_SAMPLES, RatioRingState, RingRatio, WindowSample
from streamcanary.alerting.detectors.ring import BUCKETS_PER_WINDOW, Bucket, Ring


def filled_state(detector: StreamDetector, interval: float, at: float, rate: float) -> object:
    """Return the state of ``detector`` at a time (seconds since the epoch), with its windows full of runs.

    There was a run each ``interval`` seconds, and a share ``rate`` of them was bad, evenly distributed. ``None`` for
    a detector without windows: its state is that of the start.
    """
    match detector:
        case Ratio():
            runs = min(detector.runs_per_window(interval), MAX_SAMPLES)
            return RatioState(
                samples=tuple(
                    WindowSample(at - (runs - number) * interval, int((number + 1) * rate) > int(number * rate))
                    for number in range(runs)
                )
            )
        case RingRatio():
            return RatioRingState(ring=_full_ring(detector.seconds, interval, at, rate))
        case BurnRate():
            lengths = sorted({length for window in detector.windows for length in (window.long, window.short)})
            return BurnRateState(rings=tuple(_full_ring(seconds, interval, at, rate) for seconds in lengths))
        case _:
            return None


def _full_ring(seconds: float, interval: float, at: float, rate: float) -> Ring:
    length = seconds / BUCKETS_PER_WINDOW
    last, buckets = int(at // length), []
    for number in range(last - BUCKETS_PER_WINDOW, last):
        # whole numbers that add up
        runs = int((number + 1) * length / interval) - int(number * length / interval)
        bad = int((number + 1) * length * rate / interval) - int(number * length * rate / interval)
        if runs:
            buckets.append(Bucket(number, max(0, runs - bad), min(bad, runs)))
    return Ring(seconds, tuple(buckets))
