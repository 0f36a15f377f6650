"""The detector ``ratio`` over many runs of pooled canaries: buckets in place of samples."""

from random import Random

import msgspec
import pytest

from streamcanary.alerting.detectors import Ratio, SampleStream
from streamcanary.alerting.detectors.ratio import RingRatio
from streamcanary.alerting.forecast import forecast_detector
from streamcanary.model.schedules.schedule import Every, Pooled
from support.alerting.builders import NOON

MANY = SampleStream("all canaries", Pooled(0.1, 300))


def ratio(**config: object) -> Ratio:
    """Parse a ``ratio`` detector from its configuration."""
    return Ratio.model_validate({"type": "ratio", "over": "5m", "threshold": "50%", "min_samples": 5, **config})


def test_many_runs_of_pooled_canaries_are_counted_in_buckets() -> None:
    """Only a window of time with many pooled runs is stored in buckets."""
    assert isinstance(ratio().for_stream(MANY), RingRatio)
    detector = ratio()
    assert detector is detector.for_stream(SampleStream("two", Pooled(15.0, 2)))
    assert detector is detector.for_stream(SampleStream("chat", Every(0.1)))
    detector = ratio(over="20 runs")
    assert detector is detector.for_stream(MANY)


@pytest.mark.parametrize("seed", range(5))
def test_buckets_decide_as_samples_do(seed: int) -> None:
    """With buckets the alert fires and resolves when it does with samples, within two buckets of the window."""
    random = Random(seed)  # noqa: S311 - the same each time
    exact, buckets = ratio(), ratio().for_stream(MANY)
    states: list[object] = [None, None]
    firing, changes = [False, False], [[], []]
    for number in range(9000):
        at, bad = NOON + number * 0.4, random.random() < (0.9 if 3000 <= number < 6000 else 0.02)
        for index, detector in enumerate((exact, buckets)):
            result = detector.feed(states[index], bad=bad, at=at, firing=firing[index])
            if result.is_firing != firing[index]:
                changes[index].append(number)
            states[index], firing[index] = result.state, result.is_firing
    assert [2, 2] == [len(each) for each in changes]
    assert all(abs(one - other) <= 2 * 300 / 60 / 0.4 for one, other in zip(*changes, strict=True))


def test_the_state_stays_small() -> None:
    """The state of 20,000 samples in the window has 60 counts."""
    detector, state = ratio().for_stream(MANY), None
    for number in range(20_000):
        state = detector.feed(state, bad=number % 2 == 0, at=NOON + number * 0.015, firing=False).state
    assert len(msgspec.json.encode(state)) < 2000


def test_the_forecast_counts_all_runs_of_the_window() -> None:
    """A complete outage reaches 50 % of a window of five minutes after half of it, however many runs that has."""
    forecast = forecast_detector(ratio(), MANY, 0.02)
    assert pytest.approx(150.0, rel=0.02) == forecast.detection_delays[2]
