"""Forecasts of detectors, compared with the real detectors on random samples."""

import time
from bisect import bisect_right
from random import Random
from typing import Any

import msgspec
import pytest
from pydantic import TypeAdapter

from streamcanary.alerting.detectors import Detector, SampleStream
from streamcanary.alerting.forecast import ERROR_RATES, MONTH_SECONDS, Forecast, forecast_detector
from streamcanary.model.schedules.cron import Cron
from streamcanary.model.schedules.schedule import Every
from support.alerting.builders import CHAT, NOON

DETECTOR: TypeAdapter[Any] = TypeAdapter(Detector)
EVERY = CHAT.interval
CLOSE = pytest.approx

NOISY: list[tuple[dict[str, Any], float]] = [
    ({"type": "consecutive", "failures": 2, "resolve_after": 3}, 0.1),
    ({"type": "ratio", "over": "5m", "threshold": "20%", "min_samples": 5}, 0.02),
    ({"type": "ratio", "over": "6 runs", "threshold": "50%", "min_samples": 4}, 0.15),
    ({"type": "ratio", "over": "4m", "threshold": "25%", "min_samples": 4, "for": "1m"}, 0.1),
    ({"type": "spike", "normal": "5%", "spike": "40%", "false_pages": "1 per 3h"}, 0.05),
    (
        {
            "type": "burn_rate",
            "objective": "90%",
            "windows": [{"long": "10m", "short": "2m", "rate": 2.5}, {"long": "20m", "short": "4m", "rate": 2}],
        },
        0.13,
    ),
]
"""Detectors, each with an error rate at which pages are frequent enough to count."""


def forecast(config: dict[str, Any], base_rate: float = 0.02) -> Forecast:
    """Return the forecast of the detector for ``chat``, one run each 30 s."""
    return forecast_detector(DETECTOR.validate_python(config), SampleStream.of_canary(CHAT), base_rate)


class Samples:
    """The real detector with one sample each 30 s."""

    def __init__(self, config: dict[str, Any], seed: int) -> None:
        self.detector = DETECTOR.validate_python(config).for_stream(SampleStream.of_canary(CHAT))
        self.random = Random(seed)  # noqa: S311
        self.at, self.state, self.is_firing = NOON, None, False

    def feed(self, rate: float) -> bool:
        """Feed a sample that is bad at ``rate``; return whether the detector fires."""
        self.at += EVERY
        result = self.detector.feed(self.state, bad=self.random.random() < rate, at=self.at, firing=self.is_firing)
        self.state, self.is_firing = result.state, result.is_firing
        return self.is_firing


def mean_delay(config: dict[str, Any], rate: float, outages: int) -> float:
    """Return the mean delay in seconds of ``outages`` that begin after a long time without errors."""
    samples = Samples(config, seed=3)
    for _ in range(200):
        samples.feed(0)
    healthy, runs = samples.state, 0
    at = samples.at
    for _ in range(outages):
        samples.at, samples.state, samples.is_firing = at, healthy, False
        runs += 1
        while not samples.feed(rate):
            runs += 1
    return (runs / outages - 0.5) * EVERY


@pytest.mark.parametrize(("config", "rate"), NOISY)
def test_false_pages_match_the_detector(config: dict[str, Any], rate: float) -> None:
    """The forecast of false pages is within 10 % of 500 pages of the real detector at its base rate."""
    samples, pages, runs, fired = Samples(config, seed=7), 0, 0, False
    while pages < 500 and runs < 500_000:
        runs += 1
        fires = samples.feed(rate)
        pages += fires and not fired
        fired = fires
    assert pages == 500
    assert CLOSE(pages * MONTH_SECONDS / EVERY / runs, rel=0.1) == forecast(config, rate).false_pages


@pytest.mark.parametrize(("config", "base_rate"), NOISY)
@pytest.mark.parametrize("rate", ERROR_RATES)
def test_delays_match_the_detector(config: dict[str, Any], base_rate: float, rate: float) -> None:
    """The forecast delay is within 10 % of the mean delay of the real detector over many outages."""
    delay = forecast(config, base_rate).detection_delays[ERROR_RATES.index(rate)]
    assert CLOSE(mean_delay(config, rate, 1 if rate == 1 else 1500), rel=0.1) == delay


@pytest.mark.parametrize(
    "config",
    [
        *(config for config, _ in NOISY),
        {"type": "consecutive"},
        {"type": "ratio", "over": "10m", "threshold": "50%"},
        {"type": "ratio", "over": "7d", "threshold": "30%"},
        {"type": "spike"},
        {"type": "burn_rate", "objective": "99%"},
    ],
)
def test_the_run_of_the_resolve_matches_the_detector(config: dict[str, Any]) -> None:
    """The detector resolves at the forecast run after a long outage; ``burn_rate`` may differ by one run."""
    samples = Samples(config, seed=1)
    for _ in range(1100):
        samples.feed(1)
    runs = 1
    while samples.feed(0):
        runs += 1
    predicted = forecast(config)
    assert abs(predicted.runs_to_resolve - runs) <= (config["type"] == "burn_rate")
    assert (predicted.runs_to_resolve - 0.5) * EVERY == predicted.seconds_to_resolve


def test_very_rare_pages_are_forecast_correctly() -> None:
    """The simulated ``ratio`` of four of four runs equals the exact ``consecutive`` of four at 0.1 % errors."""
    ratio = forecast({"type": "ratio", "over": "4 runs", "threshold": "100%", "min_samples": 4}, 0.001)
    exact = forecast({"type": "consecutive", "failures": 4}, 0.001)
    assert exact.false_pages < 1e-7
    assert CLOSE(exact.false_pages, rel=0.05) == ratio.false_pages


def test_a_very_long_delay_is_forecast_correctly() -> None:
    """The simulated ``ratio`` of ten of ten runs equals the exact ``consecutive`` of ten at an error rate of 20 %."""
    ratio = forecast({"type": "ratio", "over": "10 runs", "threshold": "100%"})
    exact = forecast({"type": "consecutive", "failures": 10})
    assert exact.detection_delays[0] > 10 * 365 * 86400
    assert CLOSE(exact.detection_delays[0], rel=0.1) == ratio.detection_delays[0]


def test_known_values_are_forecast() -> None:
    """Delays in seconds at error rates of 20, 50 and 100 %, and false pages a month at 2 %, have the known values.

    The delays of the first three can be checked by hand.
    """
    forecasts = {
        "three": forecast({"type": "consecutive"}),
        "six of twenty": forecast({"type": "ratio", "over": "20 runs", "threshold": "30%"}),
        "half of 5m": forecast({"type": "ratio", "over": "5m", "threshold": "50%"}),
        "spike": forecast({"type": "spike"}),
        "burn rate": forecast({"type": "burn_rate", "objective": "99%"}),
    }
    assert {name: [round(delay) for delay in one.detection_delays] for name, one in forecasts.items()} == {
        "three": CLOSE([4635, 405, 75], abs=1),
        "six of twenty": CLOSE([1601, 341, 162], rel=0.1),
        "half of 5m": CLOSE([3531, 322, 134], rel=0.1),
        "spike": CLOSE([1212, 303, 134], rel=0.02),
        "burn rate": CLOSE([2709, 1038, 510], rel=0.1),
    }
    assert {name: one.false_pages for name, one in forecasts.items()} == {
        "three": CLOSE(0.68, rel=0.01),
        "six of twenty": CLOSE(0.046, rel=0.1),
        "half of 5m": CLOSE(0.03, rel=0.1),
        "spike": CLOSE(30 / 436.7, rel=0.01),
        "burn rate": CLOSE(0, abs=0.001),
    }


def test_a_spike_uses_its_own_normal_as_base_rate() -> None:
    """A ``spike`` ignores the given base rate, and the other detectors use it."""
    spike = {"type": "spike", "normal": "4%", "spike": "40%"}
    assert forecast(spike, 0.5) == forecast(spike, 0.01)
    assert forecast(spike).base_rate == 0.04
    assert forecast({"type": "consecutive"}, 0.01).base_rate == 0.01


@pytest.mark.parametrize(
    "config",
    [
        {"type": "ratio", "over": "1000 runs", "threshold": "50%"},
        {"type": "ratio", "over": "7d", "threshold": "0.001%"},
        {"type": "ratio", "over": "1h", "threshold": "4%", "for": "1d"},
        {"type": "burn_rate", "objective": "99.9%", "windows": [{"long": "30d", "short": "1d", "rate": 1}]},
        {"type": "consecutive", "failures": 1000},
        {"type": "spike", "normal": "0.1%", "spike": "0.5%"},
    ],
)
def test_no_detector_takes_long_to_forecast(config: dict[str, Any]) -> None:
    """A forecast takes less than 10 s of CPU time for extreme windows, thresholds and rates."""
    before = time.process_time()
    predicted = forecast(config)
    assert time.process_time() - before < 10
    assert [] == [delay for delay in predicted.detection_delays if delay < EVERY / 2]
    assert predicted.false_pages >= 0


OFFICE = Cron.parse("*/10 9-17 * * 1-5", "Europe/Berlin")


@pytest.mark.parametrize("rate", ERROR_RATES)
@pytest.mark.parametrize("config", [{"type": "consecutive", "failures": 3}, {"type": "spike"}], ids=str)
def test_delays_of_a_cron_canary_match_the_detector(config: dict[str, Any], rate: float) -> None:
    """The forecast is within 10 % of the real detector on cron times, for outages that begin at any moment."""
    canary = msgspec.structs.replace(CHAT, interval=OFFICE.interval, cron=OFFICE)
    detector = DETECTOR.validate_python(config).for_stream(SampleStream.of_canary(canary))
    points = [NOON]
    while points[-1] < NOON + 12 * 7 * 86400:
        points.append(OFFICE.nth_run_after(points[-1], 1))
    random, delays = Random(5), []  # noqa: S311
    while len(delays) < 2000:
        begun = NOON + random.random() * 4 * 7 * 86400
        state = None
        for point in points[bisect_right(points, begun) :]:
            result = detector.feed(state, bad=random.random() < rate, at=point, firing=False)
            state = result.state
            if result.is_firing:
                delays.append(point - begun)
                break
    predicted = forecast_detector(DETECTOR.validate_python(config), SampleStream.of_canary(canary), 0.02)
    assert CLOSE(sum(delays) / len(delays), rel=0.1) == predicted.detection_delays[ERROR_RATES.index(rate)]


def test_false_pages_of_a_cron_canary_count_its_actual_runs() -> None:
    """False pages are proportional to the mean interval of a cron schedule, not to its median interval."""
    canary = msgspec.structs.replace(CHAT, interval=OFFICE.interval, cron=OFFICE)
    detector = DETECTOR.validate_python({"type": "consecutive", "failures": 2})
    always = forecast_detector(detector, SampleStream("chat", Every(600.0)), 0.02)
    assert (
        CLOSE(always.false_pages * 600.0 / OFFICE.interval)
        == forecast_detector(detector, SampleStream.of_canary(canary), 0.02).false_pages
    )
