"""Forecasts for errors that come in bursts, compared with the real detectors on a Markov chain of samples."""

from heapq import heapify, heappushpop
from random import Random
from typing import Any

import pytest
from pydantic import TypeAdapter

from streamcanary.alerting.detectors import Detector, SampleStream, Spike
from streamcanary.alerting.detectors.cusum_run_length import runs_to_fire
from streamcanary.alerting.forecast import ERROR_RATES, MONTH_SECONDS, STEADY_RATES, Forecast, forecast_detector
from streamcanary.model.schedules.schedule import Every, Pooled, SampleSchedule

DETECTOR: TypeAdapter[Any] = TypeAdapter(Detector)
CLOSE = pytest.approx
DAY = 86400.0

SPIKE = {"type": "spike", "normal": "5%", "spike": "40%", "false_pages": "1 per 6h"}
RATIO = {"type": "ratio", "over": "6m", "threshold": "40%", "min_samples": 5}
BURN_RATE = {
    "type": "burn_rate",
    "objective": "90%",
    "windows": [{"long": "10m", "short": "2m", "rate": 3}, {"long": "20m", "short": "4m", "rate": 2.5}],
}
CASES = [
    (SPIKE, Every(30.0), 0.05, 0.3),
    (SPIKE, Pooled(18.0, 100), 0.05, 0.1),
    ({**SPIKE, "false_pages": "1 per 1h"}, Pooled(1 / (8 / 30 + 1 / 300), 9), 0.05, 0.2),
    ({"type": "consecutive", "failures": 3, "resolve_after": 2}, Every(30.0), 0.1, 0.3),
    (RATIO, Every(30.0), 0.05, 0.3),
    (BURN_RATE, Every(30.0), 0.08, 0.3),
]
"""Detectors, the schedule of their samples, an error rate at which pages are frequent, and its autocorrelation."""


def case_id(value: object) -> str:
    """Return the type of a detector, or the text of another parameter."""
    return str(value["type"] if isinstance(value, dict) else value)


def forecast(config: dict[str, Any], schedule: SampleSchedule, base_rate: float, autocorrelation: float) -> Forecast:
    """Return the forecast of the detector for a stream of which the autocorrelation was learned."""
    stream = SampleStream("", schedule, autocorrelation=autocorrelation)
    return forecast_detector(DETECTOR.validate_python(config), stream, base_rate)


class Samples:
    """The real detector, fed with samples of a Markov chain."""

    def __init__(self, config: dict[str, Any], schedule: SampleSchedule, autocorrelation: float) -> None:
        stream = SampleStream("", schedule, autocorrelation=autocorrelation)
        self.detector = DETECTOR.validate_python(config).for_stream(stream)
        self.interval, self.autocorrelation = schedule.interval, autocorrelation
        self.random, self.at, self.bad = Random(7), DAY, False  # noqa: S311
        self.state, self.is_firing = None, False

    def feed(self, rate: float, *, is_first: bool = False) -> bool:
        """Feed a sample of a process with the error ``rate``; return whether the detector begins to fire."""
        weight = 0.0 if is_first else self.autocorrelation
        self.bad = self.random.random() < weight * self.bad + (1 - weight) * rate
        self.at += self.interval
        result = self.detector.feed(self.state, bad=self.bad, at=self.at, firing=self.is_firing)
        begins = result.is_firing and not self.is_firing
        self.state, self.is_firing = result.state, result.is_firing
        return begins


@pytest.mark.parametrize(("config", "schedule", "rate", "autocorrelation"), CASES, ids=case_id)
def test_false_pages_match_the_detector(
    config: dict[str, Any], schedule: SampleSchedule, rate: float, autocorrelation: float
) -> None:
    """The forecast of false pages is within 10 % of 300 pages of the real detector."""
    samples, pages, runs = Samples(config, schedule, autocorrelation), 0, 0
    predicted = forecast(config, schedule, rate, autocorrelation).false_pages
    per_run = predicted / MONTH_SECONDS * schedule.interval
    while pages < 300 and runs < 1000 / per_run:
        pages += samples.feed(rate)
        runs += 1
    assert CLOSE(pages / runs, rel=0.1) == per_run


@pytest.mark.parametrize("outage", ERROR_RATES)
@pytest.mark.parametrize(("config", "schedule", "rate", "autocorrelation"), CASES, ids=case_id)
def test_delays_match_the_detector(
    config: dict[str, Any], schedule: SampleSchedule, rate: float, autocorrelation: float, outage: float
) -> None:
    """The forecast delay is within 10 % of the mean of many outages of which the errors come in bursts, too."""
    samples, runs, outages = Samples(config, schedule, autocorrelation), 0, 1 if outage == 1 else 600
    for _ in range(150):
        samples.feed(0)
    healthy, at = samples.state, samples.at
    for _ in range(outages):
        samples.at, samples.state, samples.is_firing = at, healthy, False
        runs += 1
        fires = samples.feed(outage, is_first=True)
        while not fires:
            runs += 1
            fires = samples.feed(outage)
    predicted = forecast(config, schedule, rate, autocorrelation).detection_delays[ERROR_RATES.index(outage)]
    assert CLOSE(schedule.mean_wait(runs / outages), rel=0.1) == predicted


@pytest.mark.parametrize("outage", ERROR_RATES)
@pytest.mark.parametrize("intervals", [[30.0] * 8, [30.0] * 8 + [300.0], [60.0, 120.0, 300.0], [1800.0] * 100], ids=len)
def test_delays_of_pooled_canaries_match_their_runs(intervals: list[float], outage: float) -> None:
    """The delay is within 10 % of that of the runs of all canaries, each at its own phase, after a random moment."""
    pooled = Pooled(1 / sum(1 / interval for interval in intervals), len(intervals))
    stream, random, delays = SampleStream("", pooled), Random(9), []  # noqa: S311
    detector, count = Spike(type="spike").for_stream(stream), 1 if outage == 1 else 3
    for _ in range(100 * count):
        state, due = None, [(random.random() * interval, interval) for interval in intervals]
        heapify(due)
        while True:
            at, _ = heappushpop(due, (due[0][0] + due[0][1], due[0][1]))
            result = detector.feed(state, bad=random.random() < outage, at=at, firing=False)
            state = result.state
            if result.is_firing:
                delays.append(at)
                break
    predicted = forecast_detector(Spike(type="spike"), stream, 0.02).detection_delays[ERROR_RATES.index(outage)]
    assert CLOSE(sum(delays) / len(delays), rel=0.1) == predicted


@pytest.mark.parametrize("autocorrelation", [0.0, 0.2])
def test_the_promise_of_false_pages_holds(autocorrelation: float) -> None:
    """``spike`` pages as often as promised or, by the next threshold, a little less: not half as often."""
    samples, pages = Samples(SPIKE, Every(30.0), autocorrelation), 0
    runs = int(300 * 6 * 3600 / 30)
    for _ in range(runs):
        pages += samples.feed(0.05)
    assert 0.5 * 300 < pages < 1.1 * 300


@pytest.mark.parametrize("autocorrelation", [0.05, 0.3])
def test_very_rare_pages_in_bursts_are_forecast_correctly(autocorrelation: float) -> None:
    """The simulated ``ratio`` of four of four runs equals the exact ``consecutive`` of four at 0.1 % errors."""
    ratio = {"type": "ratio", "over": "4 runs", "threshold": "100%", "min_samples": 4}
    exact = forecast({"type": "consecutive", "failures": 4}, Every(30.0), 0.001, autocorrelation)
    assert CLOSE(exact.false_pages, rel=0.05) == forecast(ratio, Every(30.0), 0.001, autocorrelation).false_pages


def test_notifications_a_day_match_the_detector() -> None:
    """At steady error rates in bursts, the alerts of the first day are within 10 % of those of the real ``spike``."""
    config, autocorrelation = {"type": "spike", "false_pages": "1 per 30d"}, 0.2
    predicted = forecast(config, Every(60.0), 0.02, autocorrelation).notifications_per_day
    for rate, expected in zip(STEADY_RATES, predicted, strict=True):
        samples, pages, days = Samples(config, Every(60.0), autocorrelation), 0, 60
        for _ in range(days):
            samples.state, samples.is_firing = None, False
            for _ in range(1440):
                pages += samples.feed(rate)
        counted = pages / days
        assert CLOSE(counted, rel=0.1, abs=0 if counted > 1 else 0.25) == expected


def test_the_default_autocorrelation_leaves_a_margin() -> None:
    """With the threshold of independent failures at 2 %, short bursts at 0.5 % page about as seldom as promised."""
    assumed = Spike(type="spike").for_stream(SampleStream("", Every(30.0)))
    assert 35 == assumed.threshold
    assert 326 == round(runs_to_fire(assumed.step, 35, 0.005, 0.1) * 30 / DAY)
