from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamcanary.alerting.detectors import BurnRate, DetectorState
from streamcanary.alerting.detectors.burn_rate import BUCKETS_PER_WINDOW, Ring
from streamcanary.model.canary import Canary
from support.alerting.builders import NOON, alerts

NINETY: dict[str, Any] = {
    "objective": "90%",
    "windows": [{"long": "10m", "short": "2m", "rate": 5}],
    "min_samples": 4,
}
"""Half of the runs of the last 10 minutes, and half of those of the last 2."""


def burn_rate(**config: Any) -> BurnRate:
    """Read a ``burn_rate`` from its configuration."""
    return BurnRate.model_validate({"type": "burn_rate", **config})


def watch(detector: BurnRate, samples: str, every: float = 30.0, state: object = None, *, firing: bool = False) -> str:
    """Feed samples (``x`` bad, ``.`` good), one each ``every`` seconds; return ``F`` for each after which it fires."""
    said = ""
    for number, sample in enumerate(samples):
        verdict = detector.feed(state, bad=sample == "x", at=NOON + every * number, firing=firing)
        state, firing = verdict.state, verdict.is_firing
        said += "F" if firing else "-"
    return said


def test_the_windows_are_those_of_the_workbook() -> None:
    """14.4 over 1 h and 5 m, 6 over 6 h and 30 m."""
    windows = [(window.long, window.short, window.rate) for window in burn_rate(objective="99%").windows]
    assert [(3600, 300, 14.4), (21600, 1800, 6)] == windows


def test_a_full_outage_of_a_healthy_service() -> None:
    """At 99 % a run each 30 s: 14.4 % of 120 runs are 18: it fires after 9 minutes; 30 good ones end it."""
    said = watch(burn_rate(objective="99%"), "." * 800 + "x" * 40 + "." * 80)
    assert (817, 897) == (said.index("F"), said.rindex("F"))
    assert 1 == said.count("-F")


def test_both_windows_must_burn() -> None:
    """An outage that is over does not fire by its long window, nor a single failure by the short one."""
    detector = burn_rate(**NINETY)
    assert "F" not in watch(detector, "." * 20 + "xx.." * 2 + "." * 10)
    assert "F" not in watch(detector, "." * 20 + "xxx" + "." * 20)
    assert "F" in watch(detector, "." * 20 + "x" * 10)


@pytest.mark.parametrize("gap", [0, 100])
def test_it_needs_samples(gap: int) -> None:
    """Three failures in a fresh window are not enough, four are; so it is after a gap that emptied it."""
    assert "---F" == watch(burn_rate(**NINETY), "xxxx", every=30)
    state = burn_rate(**NINETY).feed(None, bad=False, at=NOON - 86400 * gap, firing=False).state if gap else None
    assert "---F" == watch(burn_rate(**NINETY), "xxxx", state=state)


def test_it_resolves_by_its_short_window() -> None:
    """At a good sample with less than a quarter of the last two minutes bad: none of four runs."""
    assert "---" + "F" * 10 + "---" == watch(burn_rate(**NINETY), "x" * 10 + "." * 6)


def test_too_few_samples_resolve_nothing() -> None:
    """After a gap a single good run does not end an outage."""
    state = burn_rate(**NINETY).feed(None, bad=True, at=NOON - 9000, firing=True).state
    assert "FFF-" == watch(burn_rate(**NINETY), "....", state=state, firing=True)


def test_a_bad_sample_resolves_nothing() -> None:
    """Whatever its windows say."""
    assert "F" == watch(burn_rate(**NINETY), "x", firing=True)


def test_the_tally_is_that_of_the_window_that_burns() -> None:
    """What a page says: so many of the runs in its long window."""
    detector, state = burn_rate(**NINETY), None
    for number in range(5):
        verdict = detector.feed(state, bad=number > 0, at=NOON + 30 * number, firing=False)
        state = verdict.state
    assert (verdict.is_firing, verdict.counts) == (True, (4, 5, NOON))


def test_its_state_is_bounded() -> None:
    """However often a canary runs, a window is at most sixty buckets."""
    detector, state = burn_rate(objective="99%"), None
    for number in range(8000):
        state = detector.feed(state, bad=number % 50 == 0, at=NOON + 3.0 * number, firing=False).state
    assert {300.0: 60, 1800.0: 60, 3600.0: 60, 21600.0: 60} == {ring.seconds: len(ring.buckets) for ring in state.rings}
    assert 8000 > len(msgspec.json.encode(state))


@given(st.lists(st.tuples(st.floats(0, 400), st.booleans()), max_size=60))
def test_a_window_is_exact_to_a_sixtieth(samples: list[tuple[float, bool]]) -> None:
    """It holds all samples that are a sixtieth younger than it is long, and none that are older."""
    ring, at, all_of_them = Ring(600.0), NOON, []
    for after, bad in samples:
        at += after
        ring = ring.add(bad=bad, at=at)
        all_of_them.append((at, bad))
        surely = [bad for when, bad in all_of_them if when > at - ring.seconds + ring.bucket_seconds]
        at_most = [bad for when, bad in all_of_them if when > at - ring.seconds]
        bads, total = ring.counts
        assert len(surely) <= total <= len(at_most)
        assert sum(surely) <= bads <= sum(at_most)
        assert len(ring.buckets) <= BUCKETS_PER_WINDOW


def test_after_the_clock_was_set_back() -> None:
    """Samples from what is now the future count as of now, and leave a window later."""
    ring = Ring(600.0).add(bad=True, at=NOON).add(bad=True, at=NOON + 100)
    back = ring.add(bad=False, at=NOON - 50_000)
    assert (2, 3) == back.counts
    assert (2, 4) == back.add(bad=False, at=NOON - 50_000 + 580).counts
    assert (0, 1) == back.add(bad=False, at=NOON - 50_000 + 601).counts


def test_other_windows_start_afresh() -> None:
    """An edited rule goes on with the windows that it still has."""
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
def test_what_could_never_fire_is_refused_at_its_key(config: dict[str, Any], path: str, message: str) -> None:
    """Each with what would be right."""
    with pytest.raises(ValidationError) as caught:
        burn_rate(**config)
    problem = caught.value.errors(include_input=False, include_url=False)[0]  # pydantic may repeat it for the whole
    assert path == ".".join(map(str, problem["loc"]))
    assert message in problem["msg"]


def test_a_canary_that_runs_too_seldom_is_refused() -> None:
    """Even the longest window is over before there are enough samples in it."""
    hourly = Canary(name="chat", target="t", provider="p", interval=3600)
    config = alerts(rules={"Burn": {"detector": {"type": "burn_rate", "objective": "99%"}}})
    [misfit] = config.config_errors([hourly])
    assert ("rules", "Burn", "detector") == misfit.path
    assert "chat runs every 1h, 6 times in 6h: fewer than min_samples (10), so it could never fire" == misfit.message
