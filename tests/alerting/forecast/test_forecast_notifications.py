"""Forecasts of the notifications a day at steady error rates, compared with the real detectors on random samples."""

from random import Random
from typing import Any

import pytest
from pydantic import TypeAdapter

from streamcanary.alerting.detectors import Detector, SampleStream
from streamcanary.alerting.forecast import STEADY_RATES, forecast_detector
from streamcanary.model.schedules.schedule import Every, Pooled, SampleSchedule

DETECTOR: TypeAdapter[Any] = TypeAdapter(Detector)
DAY = 86400.0
BURN_RATE_WINDOW = {"long": "1h", "short": "10m", "rate": 12}


def notifications(config: dict[str, Any], schedule: SampleSchedule, rate: float, days: int) -> float:
    """Return how often the real detector fires in the first day of a steady error ``rate``, on average of ``days``."""
    detector = DETECTOR.validate_python(config).for_stream(SampleStream("", schedule))
    random, fired, before = Random(11), 0, None  # noqa: S311
    for number in range(-200, 0):
        before = detector.feed(before, bad=False, at=DAY + schedule.interval * number, firing=False).state
    for _ in range(days):
        state, firing = before, False
        for number in range(int(DAY / schedule.interval)):
            result = detector.feed(
                state, bad=random.random() < rate, at=DAY + schedule.interval * number, firing=firing
            )
            fired += result.is_firing and not firing
            state, firing = result.state, result.is_firing
    return fired / days


@pytest.mark.parametrize(
    ("config", "schedule", "days"),
    [
        ({"type": "spike"}, Every(30.0), 70),
        ({"type": "spike"}, Pooled(10.0, 3), 60),
        ({"type": "spike", "normal": "1%", "spike": "10%"}, Every(120.0), 100),
        ({"type": "spike", "normal": "5%", "spike": "40%", "false_pages": "1 per 3h"}, Every(300.0), 200),
        ({"type": "consecutive", "failures": 2}, Every(120.0), 60),
        ({"type": "ratio", "over": "10m", "threshold": "30%", "min_samples": 5}, Every(60.0), 60),
        ({"type": "burn_rate", "objective": "99%", "windows": [BURN_RATE_WINDOW]}, Every(60.0), 12),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else str(value),
)
def test_notifications_a_day_match_the_detector(config: dict[str, Any], schedule: SampleSchedule, days: int) -> None:
    """Where it fires more than once a day, the forecast is within 10 % of the real detector, else within a quarter."""
    predicted = forecast_detector(DETECTOR.validate_python(config), SampleStream("", schedule), 0.02)
    for rate, expected in zip(STEADY_RATES, predicted.notifications_per_day, strict=True):
        counted = notifications(config, schedule, rate, days)
        assert pytest.approx(counted, rel=0.1, abs=0 if counted > 1 else 0.25) == expected
