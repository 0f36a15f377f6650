from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamcanary.alerting.detectors import BurnRate, DetectorState
from streamcanary.alerting.detectors.ring import BUCKETS_PER_WINDOW, Ring
from streamcanary.model.canary import Canary
from support.alerting.builders import NOON, alerts

NINETY: dict[str, Any] = {
    "objective": "90%",
    "windows": [{"long": "10m", "short": "2m", "rate": 5}],
    "min_samples": 4,
}
"""Fires at half of the runs of the last 10 minutes and half of those of the last 2."""


def burn_rate(**config: Any) -> BurnRate:
    """Parse a ``burn_rate`` detector from its configuration."""
    return BurnRate.model_validate({"type": "burn_rate", **config})


def firing_states(
    detector: BurnRate, samples: str, every: float = 30.0, state: object = None, *, firing: bool = False
) -> str:
    """Feed samples (``x`` bad, ``.`` good) every ``every`` seconds; return ``F`` (firing) or ``-`` for each."""
    states = ""
    for number, sample in enumerate(samples):
        result = detector.feed(state, bad=sample == "x", at=NOON + every * number, firing=firing)
        state, firing = result.state, result.is_firing
        states += "F" if firing else "-"
    return states


def test_the_default_windows_are_those_of_the_sre_workbook() -> None:
    """The default rates are 14.4 over 1 h and 5 m, and 6 over 6 h and 30 m."""
    windows = [(window.long, window.short, window.rate) for window in burn_rate(objective="99%").windows]
    assert [(3600, 300, 14.4), (21600, 1800, 6)] == windows


def test_a_full_outage_fires_after_nine_minutes_and_resolves_after_30_good_runs() -> None:
    """At 99 % and a run every 30 s it fires at 18 failures (14.4 % of 120 runs); 30 good runs resolve it."""
    states = firing_states(burn_rate(objective="99%"), "." * 800 + "x" * 40 + "." * 80)
    assert (817, 897) == (states.index("F"), states.rindex("F"))
    assert 1 == states.count("-F")


def test_it_fires_only_if_both_windows_burn() -> None:
    """A resolved outage does not fire by the long window, and few failures do not fire by the short one."""
    detector = burn_rate(**NINETY)
    assert "F" not in firing_states(detector, "." * 20 + "xx.." * 2 + "." * 10)
    assert "F" not in firing_states(detector, "." * 20 + "xxx" + "." * 20)
    assert "F" in firing_states(detector, "." * 20 + "x" * 10)


@pytest.mark.parametrize("gap", [0, 100])
def test_it_fires_only_with_min_samples(gap: int) -> None:
    """In an empty window, or one emptied by a gap, it fires at the fourth failure and not at the third."""
    assert "---F" == firing_states(burn_rate(**NINETY), "xxxx", every=30)
    state = burn_rate(**NINETY).feed(None, bad=False, at=NOON - 86400 * gap, firing=False).state if gap else None
    assert "---F" == firing_states(burn_rate(**NINETY), "xxxx", state=state)


def test_it_resolves_by_its_short_window() -> None:
    """It resolves at a good sample when less than a quarter of the last two minutes is bad."""
    assert "---" + "F" * 10 + "---" == firing_states(burn_rate(**NINETY), "x" * 10 + "." * 6)


def test_it_does_not_resolve_with_too_few_samples() -> None:
    """After a gap it resolves only once the longest window contains ``min_samples``."""
    state = burn_rate(**NINETY).feed(None, bad=True, at=NOON - 9000, firing=True).state
    assert "FFF-" == firing_states(burn_rate(**NINETY), "....", state=state, firing=True)


def test_a_bad_sample_does_not_resolve_it() -> None:
    """A bad sample does not resolve the alert even if its windows are below the rates."""
    assert "F" == firing_states(burn_rate(**NINETY), "x", firing=True)


def test_failure_counts_are_those_of_the_burning_window() -> None:
    """The failure counts of the result are those of the long window that fires."""
    detector, state = burn_rate(**NINETY), None
    for number in range(5):
        result = detector.feed(state, bad=number > 0, at=NOON + 30 * number, firing=False)
        state = result.state
    assert (result.is_firing, result.counts) == (True, (4, 5, NOON))


def test_the_state_is_bounded() -> None:
    """A window has at most sixty buckets, however often a canary runs."""
    detector, state = burn_rate(objective="99%"), None
    for number in range(8000):
        state = detector.feed(state, bad=number % 50 == 0, at=NOON + 3.0 * number, firing=False).state
    assert {300.0: 60, 1800.0: 60, 3600.0: 60, 21600.0: 60} == {ring.seconds: len(ring.buckets) for ring in state.rings}
    assert 8000 > len(msgspec.json.encode(state))


@given(st.lists(st.tuples(st.floats(0, 400), st.booleans()), max_size=60))
def test_a_window_is_exact_to_a_sixtieth(samples: list[tuple[float, bool]]) -> None:
    """A window contains all samples newer than its length less one bucket, and none older than its length."""
    ring, at, all_samples = Ring(600.0), NOON, []
    for after, bad in samples:
        at += after
        ring = ring.add(bad=bad, at=at)
        all_samples.append((at, bad))
        at_least = [bad for time, bad in all_samples if time > at - ring.seconds + ring.bucket_seconds]
        at_most = [bad for time, bad in all_samples if time > at - ring.seconds]
        bad_count, total = ring.counts
        assert len(at_least) <= total <= len(at_most)
        assert sum(at_least) <= bad_count <= sum(at_most)
        assert len(ring.buckets) <= BUCKETS_PER_WINDOW


def test_samples_from_before_a_clock_step_back_count_as_current() -> None:
    """After the clock was set back, later samples count as current and expire after the window length."""
    ring = Ring(600.0).add(bad=True, at=NOON).add(bad=True, at=NOON + 100)
    back = ring.add(bad=False, at=NOON - 50_000)
    assert (2, 3) == back.counts
    assert (2, 4) == back.add(bad=False, at=NOON - 50_000 + 580).counts
    assert (0, 1) == back.add(bad=False, at=NOON - 50_000 + 601).counts


def test_an_edited_rule_keeps_unchanged_windows() -> None:
    """A window of a new length starts empty, and the other windows keep their samples."""
    state = burn_rate(**NINETY).feed(None, bad=True, at=NOON, firing=False).state
    edited = burn_rate(**{**NINETY, "windows": [{"long": "20m", "short": "2m", "rate": 5}]})
    after = edited.feed(state, bad=True, at=NOON + 30, firing=False).state
    assert {120.0: (2, 2), 1200.0: (1, 1)} == {ring.seconds: ring.counts for ring in after.rings}
    assert (
        after
        == edited.feed(
            msgspec.json.decode(msgspec.json.encode(state), type=DetectorState), bad=True, at=NOON + 30, firing=False
        ).state
    )


@pytest.mark.parametrize(
    ("config", "path", "message"),
    [
        ({}, "objective", "Field required"),
        ({"objective": "100%"}, "objective", "leaves no error budget to burn: write a lower one"),
        ({"objective": "0%"}, "objective", "more than 0% and at most 100%"),
        ({"objective": "90%"}, "objective", "a burn rate of 14.4 is 144% of errors, so it could never fire"),
        (
            {"objective": "90%", "windows": [{"long": "1h", "short": "5m", "rate": 12}]},
            "windows.0.rate",
            "set windows with a rate of at most 10",
        ),
        (
            {"objective": "99%", "windows": [{"long": "5m", "short": "1h", "rate": 2}]},
            "windows.0.short",
            "1h must be shorter than long (5m)",
        ),
        ({"objective": "99%", "windows": []}, "windows", "at least 1 item"),
        (
            {"objective": "99%", "windows": [{"long": "1h", "short": "5m", "rate": 0}]},
            "windows.0.rate",
            "greater than 0",
        ),
        ({"objective": "99%", "for": "5m"}, "for", "Extra inputs are not permitted"),
    ],
)
def test_an_invalid_configuration_is_reported_at_its_key(config: dict[str, Any], path: str, message: str) -> None:
    """A detector that could never fire is rejected at its key, with a message that says what to change."""
    with pytest.raises(ValidationError) as caught:
        burn_rate(**config)
    error = caught.value.errors(include_input=False, include_url=False)[0]  # pydantic may repeat it for the whole model
    assert path == ".".join(map(str, error["loc"]))
    assert message in error["msg"]


def test_a_canary_that_runs_too_rarely_is_an_error() -> None:
    """A canary whose longest window cannot contain ``min_samples`` is reported."""
    hourly = Canary(name="chat", target="t", provider="p", interval=3600)
    config = alerts(rules={"Burn": {"detector": {"type": "burn_rate", "objective": "99%"}}})
    [error] = config.config_errors([hourly])
    assert ("rules", "Burn", "detector") == error.path
    assert "chat runs every 1h, 6 times in 6h: fewer than min_samples (10), so it could never fire" == error.message
