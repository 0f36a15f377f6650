"""What a rule is said to do, against the rule itself: the real detectors, fed with random samples."""

import time
from bisect import bisect_right
from random import Random
from typing import Any

import msgspec
import pytest
from pydantic import TypeAdapter

from streamcanary.alerting.detectors import Detector
from streamcanary.alerting.forecast import ERROR_RATES, MONTH_SECONDS, Forecast, forecast_detector
from streamcanary.model.cron import Cron
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
"""Detectors, and an error rate at which they page so often that it can be counted."""


def expected(config: dict[str, Any], normal: float = 0.02) -> Forecast:
    """Forecast what the detector does for ``chat``, one run each 30 s."""
    return forecast_detector(DETECTOR.validate_python(config), CHAT, normal)


class Samples:
    """The real detector, and one sample each 30 s."""

    def __init__(self, config: dict[str, Any], seed: int) -> None:
        self.judge = DETECTOR.validate_python(config).for_canary(CHAT)
        self.random = Random(seed)  # noqa: S311
        self.at, self.state, self.is_firing = NOON, None, False

    def feed(self, rate: float) -> bool:
        """Feed a sample that is bad at ``rate``; return whether the detector fires."""
        self.at += EVERY
        verdict = self.judge.feed(self.state, bad=self.random.random() < rate, at=self.at, firing=self.is_firing)
        self.state, self.is_firing = verdict.state, verdict.is_firing
        return self.is_firing


def mean_delay(config: dict[str, Any], rate: float, times: int) -> float:
    """Count the runs of many outages that begin after a long time without errors; return the mean time in seconds."""
    samples = Samples(config, seed=3)
    for _ in range(200):
        samples.feed(0)
    quiet, runs = samples.state, 0
    at = samples.at
    for _ in range(times):
        samples.at, samples.state, samples.is_firing = at, quiet, False
        runs += 1
        while not samples.feed(rate):
            runs += 1
    return (runs / times - 0.5) * EVERY


@pytest.mark.parametrize(("config", "rate"), NOISY)
def test_false_pages_are_as_many_as_they_are(config: dict[str, Any], rate: float) -> None:
    """Fed with samples at its base rate until it has paged 500 times, a detector does so as often as was said."""
    samples, pages, runs, fired = Samples(config, seed=7), 0, 0, False
    while pages < 500 and runs < 400_000:
        runs += 1
        fires = samples.feed(rate)
        pages += fires and not fired
        fired = fires
    assert pages == 500
    assert CLOSE(pages * MONTH_SECONDS / EVERY / runs, rel=0.1) == expected(config, rate).false_pages


@pytest.mark.parametrize(("config", "normal"), NOISY)
@pytest.mark.parametrize("rate", ERROR_RATES)
def test_delays_are_as_long_as_they_are(config: dict[str, Any], normal: float, rate: float) -> None:
    """Over many outages at each rate, the mean delay is as was said, within a tenth."""
    delay = expected(config, normal).detection_delays[ERROR_RATES.index(rate)]
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
def test_it_resolves_at_the_run_that_was_said(config: dict[str, Any]) -> None:
    """After an outage that has filled every window, to the run; or the one beside it, if windows are kept in parts."""
    samples = Samples(config, seed=1)
    for _ in range(1100):
        samples.feed(1)
    runs = 1
    while samples.feed(0):
        runs += 1
    said = expected(config)
    assert abs(said.runs_to_resolve - runs) <= (config["type"] == "burn_rate")
    assert (said.runs_to_resolve - 0.5) * EVERY == said.seconds_to_resolve


def test_what_is_too_rare_to_be_counted_is_still_right() -> None:
    """Four of four runs at 0.1 % of errors are what the chain of ``consecutive`` says: one page in a million years."""
    ratio = expected({"type": "ratio", "over": "4 runs", "threshold": "100%", "min_samples": 4}, 0.001)
    chain = expected({"type": "consecutive", "failures": 4}, 0.001)
    assert chain.false_pages < 1e-7
    assert CLOSE(chain.false_pages, rel=0.05) == ratio.false_pages


def test_a_delay_that_is_too_long_to_be_counted_is_still_right() -> None:
    """Ten of ten runs at 20 % of errors, a decade later, are what the chain of ``consecutive`` says."""
    ratio = expected({"type": "ratio", "over": "10 runs", "threshold": "100%"})
    chain = expected({"type": "consecutive", "failures": 10})
    assert chain.detection_delays[0] > 10 * 365 * 86400
    assert CLOSE(chain.detection_delays[0], rel=0.1) == ratio.detection_delays[0]


def test_the_known_figures() -> None:
    """One run each 30 s: delays at 20, 50 and 100 % of errors in seconds, and false pages a month at 2 %.

    The delays of the first three can be checked by hand.
    """
    figures = {
        "three": expected({"type": "consecutive"}),
        "six of twenty": expected({"type": "ratio", "over": "20 runs", "threshold": "30%"}),
        "half of 5m": expected({"type": "ratio", "over": "5m", "threshold": "50%"}),
        "spike": expected({"type": "spike"}),
        "burn rate": expected({"type": "burn_rate", "objective": "99%"}),
    }
    assert {name: [round(delay) for delay in figure.detection_delays] for name, figure in figures.items()} == {
        "three": CLOSE([4635, 405, 75], abs=1),
        "six of twenty": CLOSE([1601, 341, 162], rel=0.1),
        "half of 5m": CLOSE([3531, 322, 134], rel=0.1),
        "spike": CLOSE([1212, 303, 134], rel=0.02),
        "burn rate": CLOSE([2709, 1038, 510], rel=0.1),
    }
    assert {name: figure.false_pages for name, figure in figures.items()} == {
        "three": CLOSE(0.68, rel=0.01),
        "six of twenty": CLOSE(0.046, rel=0.1),
        "half of 5m": CLOSE(0.03, rel=0.1),
        "spike": CLOSE(30 / 436.7, rel=0.01),
        "burn rate": CLOSE(0, abs=0.001),
    }


def test_a_spike_is_held_against_its_own_normal() -> None:
    """It says what is normal; the others are held against what they are told."""
    spike = {"type": "spike", "normal": "4%", "spike": "40%"}
    assert expected(spike, 0.5) == expected(spike, 0.01)
    assert expected(spike).base_rate == 0.04
    assert expected({"type": "consecutive"}, 0.01).base_rate == 0.01


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
    """However wide its window, however rare or common what it looks for."""
    before = time.process_time()
    said = expected(config)
    assert time.process_time() - before < 10
    assert [] == [delay for delay in said.detection_delays if delay < EVERY / 2]
    assert said.false_pages >= 0


OFFICE = Cron.parse("*/10 9-17 * * 1-5", "Europe/Berlin")


@pytest.mark.parametrize("rate", ERROR_RATES)
@pytest.mark.parametrize("config", [{"type": "consecutive", "failures": 3}, {"type": "spike"}], ids=str)
def test_a_canary_by_cron_is_judged_on_its_own_schedule(config: dict[str, Any], rate: float) -> None:
    """Outages begin at any moment, at night too, and the real detector sees the real points; within 10 %."""
    canary = msgspec.structs.replace(CHAT, interval=OFFICE.interval, cron=OFFICE)
    judge = DETECTOR.validate_python(config).for_canary(canary)
    points = [NOON]
    while points[-1] < NOON + 12 * 7 * 86400:
        points.append(OFFICE.nth_run_after(points[-1], 1))
    random, delays = Random(5), []  # noqa: S311
    while len(delays) < 2000:
        begun = NOON + random.random() * 4 * 7 * 86400
        state = None
        for point in points[bisect_right(points, begun) :]:
            verdict = judge.feed(state, bad=random.random() < rate, at=point, firing=False)
            state = verdict.state
            if verdict.is_firing:
                delays.append(point - begun)
                break
    said = forecast_detector(DETECTOR.validate_python(config), canary, 0.02).detection_delays[ERROR_RATES.index(rate)]
    assert CLOSE(sum(delays) / len(delays), rel=0.1) == said


def test_false_pages_of_a_canary_by_cron_are_those_of_the_runs_that_it_has() -> None:
    """And not of the ones that it would have at its usual pace."""
    canary = msgspec.structs.replace(CHAT, interval=OFFICE.interval, cron=OFFICE)
    detector = DETECTOR.validate_python({"type": "consecutive", "failures": 2})
    always = forecast_detector(detector, msgspec.structs.replace(CHAT, interval=600.0), 0.02)
    assert CLOSE(always.false_pages * 600.0 / OFFICE.interval) == forecast_detector(detector, canary, 0.02).false_pages
