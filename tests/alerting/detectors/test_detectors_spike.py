"""The configuration of the ``spike`` detector, and the thresholds that follow from it."""

from typing import Any

import pytest
from pydantic import ValidationError

from streamcanary.alerting.detectors import SampleStream, Spike
from streamcanary.alerting.detectors.cusum_run_length import runs_to_fire
from streamcanary.model.canary import Canary
from streamcanary.model.schedules.schedule import Every, Pooled
from support.alerting.builders import alerts

YEAR = 365 * 86400.0


def spike(**config: Any) -> Spike:
    """Parse a ``spike`` detector from its configuration."""
    return Spike.model_validate({"type": "spike", **config})


def canary(every: float) -> Canary:
    """Return a canary that runs every ``every`` seconds."""
    return Canary(name="chat", target="t", provider="p", interval=every)


@pytest.mark.parametrize(
    ("config", "every", "steps", "threshold"),
    [
        ({}, 30, (8, 22), 35),
        ({}, 300, (8, 22), 28),
        ({"false_pages": "12 per year"}, 30, (8, 22), 28),
        ({"normal": "10%", "spike": "50%"}, 30, (3, 5), 24),
        ({"normal": "1%", "spike": "10%"}, 60, (24, 52), 102),
    ],
)
def test_the_threshold_is_the_lowest_that_satisfies_false_pages(
    config: dict[str, Any], every: float, steps: tuple[int, int], threshold: int
) -> None:
    """The threshold satisfies ``false_pages`` at the interval of the canary, and a threshold lower by 1 does not."""
    detector = spike(**config)
    cusum = detector.for_stream(SampleStream.of_canary(canary(every)))
    assert (steps, threshold) == ((cusum.step, cusum.resolve_step), cusum.threshold)
    mean_interval = detector.false_pages.mean_interval
    assert runs_to_fire(cusum.step, threshold, detector.normal) * every >= mean_interval
    assert runs_to_fire(cusum.step, threshold - 1, detector.normal) * every < mean_interval


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (30.0, (35, 70, 140, 280)),
        (60.0, (33, 66, 132, 264)),
        (3.75, (41, 656, 1312, 2624)),
        (0.015, (57, 1824, 3648, 7296)),
        (300.0, (28, 56, 112, 144)),
        (3600.0, (21, 21, 21, 21)),
    ],
)
def test_good_runs_double_up_to_twelve_hours(interval: float, expected: tuple[int, ...]) -> None:
    """The first alert needs as many good runs as the threshold; samples that come quickly then need many more."""
    schedule = Every(interval) if interval >= 30 else Pooled(interval, 8)
    assert expected == spike().for_stream(SampleStream("", schedule)).good_runs


@pytest.mark.parametrize("normal", [0.001, 0.002, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4])
@pytest.mark.parametrize("factor", [6, 15, 90])
def test_the_resolve_is_certain_at_normal(normal: float, factor: float) -> None:
    """At the error rate ``normal`` both sums fall on average, whatever the rates."""
    rate = min(normal * factor, 0.95)
    cusum = spike(normal=normal, spike=rate, false_pages="1 per 10d").for_stream(SampleStream("", Every(60.0)))
    assert (cusum.step + 1) * normal < 1 < (cusum.step + 1) * rate
    assert (cusum.resolve_step + 1) * normal < 1


STREAM = SampleStream("chat", Every(30.0))


def test_learned_rates_set_the_threshold() -> None:
    """With ``learned``, base rate and autocorrelation of the stream are used; without history 2 % and none."""
    learned = spike(normal="learned", max_normal="4%")
    assert learned.learns
    assert spike().for_stream(STREAM) == learned.for_stream(STREAM)
    known = STREAM._replace(base_rate=0.01, autocorrelation=0.2)
    assert spike(normal="1%", autocorrelation=0.2).for_stream(STREAM) == learned.for_stream(known)


def test_a_learned_base_rate_has_limits() -> None:
    """It is never above ``max_normal``, so that an outage is not learned as normal, nor below 0.1 %."""
    learned = spike(normal="learned", max_normal="4%", autocorrelation=0)
    assert [0.04, 0.001] == [learned.normal_of(STREAM._replace(base_rate=rate)) for rate in (0.5, 0.0)]
    assert 0.04 == learned.max_base_rate


def test_what_is_written_is_not_learned() -> None:
    """A ``normal`` and an ``autocorrelation`` in the configuration take precedence over history."""
    written = spike(normal="2%", autocorrelation=0)
    assert not written.learns
    known = STREAM._replace(base_rate=0.001, autocorrelation=0.5)
    assert written.for_stream(STREAM) == written.for_stream(known)


def test_an_autocorrelation_that_no_threshold_allows_is_lowered() -> None:
    """A valid rule never becomes invalid by what is learned: as much of the autocorrelation counts as possible."""
    close = spike(normal="0.5%", spike="1%", false_pages="1 per 30d")
    assert None is close.config_error(STREAM)
    assert 0 <= close.autocorrelation_of(STREAM._replace(autocorrelation=0.9)) < 0.9
    assert close.for_stream(STREAM._replace(autocorrelation=0.9)).threshold <= 5000


def test_learned_bursts_count_at_the_rate_at_which_they_were_seen() -> None:
    """Bursts that were learned at a low rate delay an alert less than bursts at a written ``normal`` that is higher."""
    bursty = spike().for_stream(STREAM._replace(base_rate=0.001, autocorrelation=0.42))
    at_normal = spike(autocorrelation=0.42).for_stream(STREAM)

    assert (bursty.threshold, at_normal.threshold) == (65, 109)
    assert bursty.step == at_normal.step
    assert runs_to_fire(bursty.step, 65, 0.001, 0.42) * 30 >= YEAR
    assert runs_to_fire(bursty.step, 65, 0.02, 0.0) * 30 >= YEAR


def test_a_written_normal_is_still_kept_when_nothing_else_is_seen() -> None:
    """The threshold is at least that of independent errors at ``normal``, and at most that of bursts at ``normal``."""
    assert 35 == spike().for_stream(STREAM._replace(base_rate=0.001, autocorrelation=0.05)).threshold
    assert 50 == spike().for_stream(STREAM._replace(base_rate=0.04, autocorrelation=0.1)).threshold


@pytest.mark.parametrize(("autocorrelation", "expected"), [(0, 35), (0.1, 50), (0.3, 82)])
def test_bursts_need_a_higher_threshold(autocorrelation: float, expected: int) -> None:
    """The threshold for the same promise rises with the autocorrelation."""
    cusum = spike(autocorrelation=autocorrelation).for_stream(STREAM)
    assert (expected, expected) == (cusum.threshold, cusum.good_runs[0])
    mean = runs_to_fire(cusum.step, expected, 0.02, autocorrelation)
    assert mean * 30 >= YEAR > runs_to_fire(cusum.step, expected - 1, 0.02, autocorrelation) * 30


@pytest.mark.parametrize(
    ("text", "interval", "expected"),
    [
        ("1 per 365d", YEAR, "1 per 365d"),
        ("2 per month", 15 * 86400.0, "2 per 30d"),
        (" 3  per  week ", 7 * 86400 / 3, "3 per 7d"),
        ("1 per year", YEAR, "1 per 365d"),
        ("1 per 12h", 43200.0, "1 per 12h"),
    ],
)
def test_false_pages_are_parsed_as_a_number_per_time(text: str, interval: float, expected: str) -> None:
    """``false_pages`` is parsed from text such as ``2 per month``, and written in a normal form."""
    config = spike(false_pages=text)
    assert (interval, expected) == (config.false_pages.mean_interval, config.model_dump()["false_pages"])


@pytest.mark.parametrize(
    ("config", "path", "message"),
    [
        ({"spike": "2%"}, "spike", "2% is not more than normal (2%)"),
        ({"normal": "40%"}, "spike", "30% is not more than normal (40%)"),
        ({"spike": "100%"}, "spike", "100% is too high: a single good run would rule it out; write 90%"),
        ({"normal": "60%", "spike": "80%"}, "spike", "80% is too close to normal (60%)"),
        ({"normal": "0.001%", "spike": "0.002%"}, "spike", "too close to normal"),
        ({"normal": 0}, "normal", "more than 0% and at most 100%"),
        ({"normal": "learn"}, "normal", "'learn' is not a fraction; did you mean learned, to estimate it from"),
        ({"normal": "lerned"}, "normal", "'lerned' is not a fraction; did you mean"),  # codespell:ignore lerned
        ({"max_normal": "5%"}, "max_normal", "is only for normal: learned; remove it, or write normal: learned"),
        (
            {"normal": "learned", "spike": "4%"},
            "spike",
            "4% is not more than max_normal (5%); write a higher rate, or a",
        ),
        ({"normal": "learned", "max_normal": 2}, "max_normal", "did you mean 2%?"),
        (
            {"autocorrelation": 1},
            "autocorrelation",
            "must be a number from 0 (failures are independent) to 0.9, or learned",
        ),
        ({"autocorrelation": "high"}, "autocorrelation", "must be a number from 0"),
        ({"autocorrelation": True}, "autocorrelation", "must be a number from 0"),
        ({"false_pages": "seldom"}, "false_pages", "write a number and a time, such as 1 per 365d"),
        ({"false_pages": 3}, "false_pages", "write a number and a time"),
        ({"false_pages": "1 per fortnight"}, "false_pages", "'fortnight' is not a duration: write one such as 365d"),
        ({"false_pages": "0 per 365d"}, "false_pages", "must be at least 1 false page"),
        ({"false_pages": "1 per 0s"}, "false_pages", "more than one false page per hour"),
        ({"false_pages": "9 per 1h"}, "false_pages", "more than one false page per hour"),
        ({"false_pages": "1 per 99999d"}, "false_pages", "is not a duration"),
        ({"for": "1m"}, "for", "Extra inputs are not permitted"),
    ],
)
def test_an_invalid_configuration_is_reported_at_its_key(config: dict[str, Any], path: str, message: str) -> None:
    """An invalid configuration is rejected at its key, with a message that says what to change."""
    with pytest.raises(ValidationError) as caught:
        spike(**config)
    [error] = caught.value.errors(include_input=False, include_url=False)
    assert path == ".".join(map(str, error["loc"]))
    assert message in error["msg"]


def test_false_pages_that_no_threshold_satisfies_are_reported_at_their_key() -> None:
    """Two close rates with one false alert in ten years need a threshold over the maximum, which is an error."""
    rules = {"Spike": {"detector": {"type": "spike", "normal": "0.3%", "spike": "0.5%", "false_pages": "1 per 3650d"}}}
    [error] = alerts(rules=rules).config_errors([canary(0.2)])
    assert ("rules", "Spike", "detector", "false_pages") == error.path
    assert "raise spike, or allow more" in error.message
