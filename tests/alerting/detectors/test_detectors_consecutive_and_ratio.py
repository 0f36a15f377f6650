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
    """Read a detector from its configuration."""
    return DETECTOR.validate_python(config)


def watch(detector: Any, samples: str, every: float = 30.0, state: object = None) -> str:
    """Feed samples (``x`` bad, ``.`` good), one each ``every`` seconds; return ``F`` for each after which it fires."""
    firing, said = False, ""
    for number, sample in enumerate(samples):
        verdict = detector.feed(state, bad=sample == "x", at=1000.0 + every * number, firing=firing)
        state, firing = verdict.state, verdict.is_firing
        said += "F" if firing else "-"
    return said


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
def test_consecutive_fires_in_a_row_and_resolves_in_a_row(samples: str, fires: str) -> None:
    """Three bad ones fire, three good ones resolve, and one of the other sort begins the row again."""
    assert watch(detector(type="consecutive", failures=3), samples) == fires


def test_consecutive_may_resolve_sooner() -> None:
    """``resolve_after`` is its own number."""
    assert watch(detector(type="consecutive", failures=2, resolve_after=1), "xx.xx.") == "-F--F-"


def test_a_steady_state_of_consecutive_is_the_same_value() -> None:
    """A day of good runs costs no write."""
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
def test_ratio_needs_enough_samples_and_enough_bad_ones(samples: str, fires: str) -> None:
    """Half of at least five in five minutes fire; less than a quarter of them, on a good sample, resolve."""
    assert watch(detector(type="ratio", over="5m", threshold="50%", min_samples=5), samples) == fires


def test_ratio_forgets_what_is_older_than_its_window() -> None:
    """Four failures an hour ago say nothing about now."""
    five = detector(type="ratio", over="5m", threshold="50%", min_samples=5)
    state: object = None
    for number in range(4):
        state = five.feed(state, bad=True, at=30.0 * number, firing=False).state
    verdict = five.feed(state, bad=True, at=3600.0, firing=False)
    assert (verdict.is_firing, verdict.counts) == (False, (1, 1, 3600.0))


def test_ratio_over_runs_looks_at_the_last_runs() -> None:
    """Two bad ones of the last four, however far apart."""
    assert (
        watch(detector(type="ratio", over="4 runs", threshold=0.5, min_samples=4), "xx..x....", 7200.0) == "---FFFFF-"
    )


def test_a_ratio_is_reached_as_a_person_would_count() -> None:
    """3 of 30 are 10 %, although 0.1 * 30 is a little more than 3 to a computer."""
    tenth = detector(type="ratio", over="30 runs", threshold="10%", min_samples=30)
    assert watch(tenth, "." * 27 + "xxx").endswith("-F")


def test_ratio_at_its_threshold_pages_once() -> None:
    """A rate that hovers about the threshold does not flap: it resolves below half of it."""
    half = detector(type="ratio", over="10 runs", threshold="50%", min_samples=5)
    assert watch(half, "xxxxx" + "x..x." * 8).count("-F") == 1


def test_ratio_for_holds_it_back() -> None:
    """With ``for: 1m`` the ratio must have been reached for a minute, without a sample at which it was not."""
    held = {"type": "ratio", "over": "2 runs", "threshold": "100%", "min_samples": 2, "for": "1m"}
    assert watch(detector(**held), "xxxx") == "---F"
    assert watch(detector(**held), "xx.xx.xx") == "--------"


def test_ratio_without_enough_samples_resolves_nothing() -> None:
    """After a gap that emptied the window, one good run does not end an outage."""
    five = detector(type="ratio", over="5m", threshold="50%", min_samples=3)
    state = five.feed(None, bad=True, at=0.0, firing=True).state
    said = []
    for number in range(3):
        verdict = five.feed(state, bad=False, at=9000.0 + number, firing=True)
        state = verdict.state
        said.append(verdict.is_firing)
    assert said == [True, True, False]


def test_ratio_after_the_clock_was_set_back() -> None:
    """Samples from what is now the future count as of now, and are gone a window later."""
    five = detector(type="ratio", over="5m", threshold="50%", min_samples=3)
    state = five.feed(None, bad=True, at=10_000.0, firing=False).state
    back = five.feed(state, bad=True, at=1_000.0, firing=False)
    assert back.counts == (2, 2, 1_000.0)
    assert five.feed(back.state, bad=True, at=1_301.0, firing=False).counts == (1, 1, 1_301.0)


def test_a_window_is_bounded() -> None:
    """A window with room for more holds a thousand samples, and is still right about them."""
    wide = detector(type="ratio", over="7d", threshold="50%", min_samples=5)
    state: object = None
    for number in range(MAX_SAMPLES + 50):
        verdict = wide.feed(state, bad=False, at=float(number), firing=False)
        state = verdict.state
    assert verdict.counts == (0, MAX_SAMPLES, 50.0)


def test_the_state_of_another_detector_starts_afresh() -> None:
    """An edited rule does not read what its former self wrote."""
    consecutive = detector(type="consecutive", failures=2)
    ratio = detector(type="ratio", over="2 runs", threshold=1, min_samples=2)
    former = consecutive.feed(None, bad=True, at=0.0, firing=False).state
    assert watch(ratio, "xx", state=former) == "-F"
    former = ratio.feed(None, bad=True, at=0.0, firing=False).state
    assert watch(consecutive, "xx", state=former) == "-F"


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
def test_a_detector_goes_on_from_what_was_stored(config: dict[str, Any], samples: str) -> None:
    """Written and read again after every sample, it says the same as one that never stopped; bad never resolves."""
    one = detector(**config)
    kept: Any = None
    state, firing = None, False
    for number, sample in enumerate(samples):
        before = firing
        now = {"bad": sample == "x", "at": 30.0 * number, "firing": firing}
        verdict, again = one.feed(state, **now), one.feed(kept, **now)
        assert again == verdict
        state, firing = verdict.state, verdict.is_firing
        kept = msgspec.json.decode(msgspec.json.encode(verdict.state), type=DetectorState)
        assert not (before and not firing and sample == "x")
        assert not (firing and not before and sample == ".") or config["type"] != "consecutive"
