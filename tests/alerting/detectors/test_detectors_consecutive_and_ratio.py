from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from streamcanary.alerting.detectors import Detector, DetectorState
from streamcanary.alerting.detectors.ratio import MAX_SAMPLES

DETECTOR: TypeAdapter[Any] = TypeAdapter(Detector)


def detector(**config: Any) -> Any:
    """Parse a detector from its configuration."""
    return DETECTOR.validate_python(config)


def firing_states(detector: Any, samples: str, every: float = 30.0, state: object = None) -> str:
    """Feed samples (``x`` bad, ``.`` good) every ``every`` seconds; return ``F`` (firing) or ``-`` for each."""
    firing, states = False, ""
    for number, sample in enumerate(samples):
        result = detector.feed(state, bad=sample == "x", at=1000.0 + every * number, firing=firing)
        state, firing = result.state, result.is_firing
        states += "F" if firing else "-"
    return states


@pytest.mark.parametrize(
    ("samples", "fires"),
    [
        ("xx", "--"),
        ("xxx", "--F"),
        ("xx.xx.x", "-------"),
        ("xxx..x..", "--FFFFFF"),
        ("xxx...", "--FFF-"),
        ("xxx...xxx", "--FFF---F"),
        ("xxxxxxxxxx...", "--FFFFFFFFFF-"),
    ],
)
def test_consecutive_fires_and_resolves_after_a_series_of_samples(samples: str, fires: str) -> None:
    """Three bad samples in a row fire, three good ones resolve, and the other kind restarts the series."""
    assert firing_states(detector(type="consecutive", failures=3), samples) == fires


def test_consecutive_resolves_after_its_own_number_of_samples() -> None:
    """``resolve_after`` sets the number of good samples that resolve the alert."""
    assert firing_states(detector(type="consecutive", failures=2, resolve_after=1), "xx.xx.") == "-F--F-"


def test_consecutive_keeps_an_equal_state_in_a_steady_series() -> None:
    """The state does not change after three good samples, so further ones need no write."""
    three = detector(type="consecutive", failures=3)
    states = set()
    state: object = None
    for number in range(10):
        state = three.feed(state, bad=False, at=float(number), firing=False).state
        states.add(state)
    assert len(states) == 3


@pytest.mark.parametrize(
    ("samples", "fires"),
    [
        ("xxxx", "----"),
        ("xxxxx", "----F"),
        ("x.x.x", "----F"),
        (".x.x.", "-----"),
        ("xx.....", "-------"),
        ("xxxxx..........", "----FFFFFFFF---"),
    ],
)
def test_ratio_fires_with_enough_samples_and_enough_bad_ones(samples: str, fires: str) -> None:
    """Half of at least five samples in five minutes fires; a good sample with less than a quarter bad resolves."""
    assert firing_states(detector(type="ratio", over="5m", threshold="50%", min_samples=5), samples) == fires


def test_ratio_drops_samples_older_than_its_window() -> None:
    """Four failures of an hour ago are not counted in a window of five minutes."""
    five = detector(type="ratio", over="5m", threshold="50%", min_samples=5)
    state: object = None
    for number in range(4):
        state = five.feed(state, bad=True, at=30.0 * number, firing=False).state
    result = five.feed(state, bad=True, at=3600.0, firing=False)
    assert (result.is_firing, result.counts) == (False, (1, 1, 3600.0))


def test_ratio_over_runs_counts_the_last_runs() -> None:
    """A window of four runs fires at two bad ones, however far apart they are."""
    assert (
        firing_states(detector(type="ratio", over="4 runs", threshold=0.5, min_samples=4), "xx..x....", 7200.0)
        == "---FFFFF-"
    )


def test_ratio_is_not_affected_by_floating_point_errors() -> None:
    """3 of 30 samples reach 10 %, although 0.1 * 30 is slightly more than 3 as a float."""
    tenth = detector(type="ratio", over="30 runs", threshold="10%", min_samples=30)
    assert firing_states(tenth, "." * 27 + "xxx").endswith("-F")


def test_ratio_fires_once_at_a_rate_close_to_its_threshold() -> None:
    """A rate close to the threshold does not flap, because the alert resolves below half of it."""
    half = detector(type="ratio", over="10 runs", threshold="50%", min_samples=5)
    assert firing_states(half, "xxxxx" + "x..x." * 8).count("-F") == 1


def test_ratio_with_for_fires_after_that_time() -> None:
    """With ``for: 1m`` it fires only if the threshold is reached at every sample for a minute."""
    held = {"type": "ratio", "over": "2 runs", "threshold": "100%", "min_samples": 2, "for": "1m"}
    assert firing_states(detector(**held), "xxxx") == "---F"
    assert firing_states(detector(**held), "xx.xx.xx") == "--------"


def test_ratio_does_not_resolve_with_too_few_samples() -> None:
    """After a gap that emptied the window, it resolves only once the window contains ``min_samples``."""
    five = detector(type="ratio", over="5m", threshold="50%", min_samples=3)
    state = five.feed(None, bad=True, at=0.0, firing=True).state
    firing = []
    for number in range(3):
        result = five.feed(state, bad=False, at=9000.0 + number, firing=True)
        state = result.state
        firing.append(result.is_firing)
    assert firing == [True, True, False]


def test_ratio_counts_samples_from_before_a_clock_step_back_as_current() -> None:
    """After the clock was set back, later samples get the current time and expire after the window length."""
    five = detector(type="ratio", over="5m", threshold="50%", min_samples=3)
    state = five.feed(None, bad=True, at=10_000.0, firing=False).state
    back = five.feed(state, bad=True, at=1_000.0, firing=False)
    assert back.counts == (2, 2, 1_000.0)
    assert five.feed(back.state, bad=True, at=1_301.0, firing=False).counts == (1, 1, 1_301.0)


def test_ratio_keeps_at_most_a_thousand_samples() -> None:
    """A longer window contains the newest thousand samples, and counts them correctly."""
    wide = detector(type="ratio", over="7d", threshold="50%", min_samples=5)
    state: object = None
    for number in range(MAX_SAMPLES + 50):
        result = wide.feed(state, bad=False, at=float(number), firing=False)
        state = result.state
    assert result.counts == (0, MAX_SAMPLES, 50.0)


def test_the_state_of_another_detector_is_discarded() -> None:
    """A detector starts from the beginning if the rule had another detector type before."""
    consecutive = detector(type="consecutive", failures=2)
    ratio = detector(type="ratio", over="2 runs", threshold=1, min_samples=2)
    former = consecutive.feed(None, bad=True, at=0.0, firing=False).state
    assert firing_states(ratio, "xx", state=former) == "-F"
    former = ratio.feed(None, bad=True, at=0.0, firing=False).state
    assert firing_states(consecutive, "xx", state=former) == "-F"


@given(
    config=st.sampled_from(
        [
            {"type": "consecutive", "failures": 3},
            {"type": "ratio", "over": "5m", "threshold": "40%", "min_samples": 3, "for": "1m"},
            {"type": "ratio", "over": "6 runs", "threshold": "50%", "min_samples": 3},
            {"type": "burn_rate", "objective": "90%", "windows": [{"long": "5m", "short": "1m", "rate": 4}]},
        ]
    ),
    samples=st.text("x.", max_size=40),
)
def test_a_detector_continues_from_its_stored_state(config: dict[str, Any], samples: str) -> None:
    """A state encoded and decoded after every sample gives equal results, and a bad sample never resolves."""
    one = detector(**config)
    stored: Any = None
    state, firing = None, False
    for number, sample in enumerate(samples):
        before = firing
        now = {"bad": sample == "x", "at": 30.0 * number, "firing": firing}
        result, from_stored = one.feed(state, **now), one.feed(stored, **now)
        assert from_stored == result
        state, firing = result.state, result.is_firing
        stored = msgspec.json.decode(msgspec.json.encode(result.state), type=DetectorState)
        assert not (before and not firing and sample == "x")
        assert not (firing and not before and sample == ".") or config["type"] != "consecutive"
