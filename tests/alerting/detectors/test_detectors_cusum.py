"""The CUSUM of the ``spike`` detector, sample by sample: when it fires, when it resolves, and what it remembers."""

from itertools import groupby

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcanary.alerting.detectors import Consecutive, Cusum, DetectorState, SpikeState

THREE = Cusum(step=3, threshold=6, resolve_step=4, good_runs=(6, 12, 24))
"""A small CUSUM: two failures in a row fire, six good runs resolve, and four good runs make up for a failure."""

DAY = 86400.0


def sums(cusum: Cusum, samples: str, state: object = None, *, firing: bool = False) -> str:
    """Feed samples (``x`` bad, ``.`` good); return the sum after each, marked with ``!`` while it fires."""
    marked = []
    for number, sample in enumerate(samples):
        result = cusum.feed(state, bad=sample == "x", at=1000.0 + 30 * number, firing=firing)
        state, firing = result.state, result.is_firing
        marked.append(f"{result.state.sum}{'!' if firing else ''}")
    return " ".join(marked)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ("....", "0 0 0 0"),
        ("x....", "3 2 1 0 0"),
        ("xx......", "3 6! 5! 4! 3! 2! 1! 0"),
        ("x..x..x.x", "3 2 1 4 3 2 5 4 6!"),
        ("xxxxxxxx......", "3 6! 6! 6! 6! 6! 6! 6! 5! 4! 3! 2! 1! 0"),
        ("xx.....x.......", "3 6! 5! 4! 3! 2! 1! 5! 4! 3! 2! 1! 0 0 0"),
        ("xx..x......", "3 6! 5! 4! 6! 5! 4! 3! 2! 1! 0"),
    ],
)
def test_it_fires_at_the_threshold_and_resolves_at_zero(samples: str, expected: str) -> None:
    """A failure adds ``step`` before it fires, and ``resolve_step`` while it fires, up to ``good_runs``."""
    assert expected == sums(THREE, samples)


def test_a_steady_partial_outage_fires_once() -> None:
    """At a constant error rate of one tenth it fires once and keeps firing for a day."""
    cusum = Cusum(step=8, threshold=35, resolve_step=22, good_runs=(35,))
    marked = sums(cusum, "xxxxx" + "x........." * 288).split()
    fires = ["!" in one for one in marked]
    assert [False, True] == [fires for fires, _ in groupby(fires)]


def test_an_alert_that_fires_again_within_a_day_needs_twice_the_good_runs() -> None:
    """The good runs that resolve it double each time, up to the last of ``good_runs``."""
    runs_to_resolve = []
    state, at = None, 1000.0
    for _ in range(4):
        firing, good = False, 0
        for _ in "xx":
            result = THREE.feed(state, bad=True, at=at, firing=firing)
            state, firing = result.state, result.is_firing
        assert firing
        while firing:
            good += 1
            result = THREE.feed(state, bad=False, at=at, firing=firing)
            state, firing = result.state, result.is_firing
        runs_to_resolve.append(good)
        at += DAY
    assert [6, 12, 24, 24] == runs_to_resolve


def test_a_day_after_the_resolve_it_is_forgotten() -> None:
    """An alert that fires more than a day after its resolve needs the first number of good runs, and no state stays."""
    resolved = SpikeState(repeats=1, resolved=1000.0)
    assert resolved == THREE.feed(resolved, bad=False, at=1000.0 + DAY, firing=False).state
    assert SpikeState() == THREE.feed(resolved, bad=False, at=1001.0 + DAY, firing=False).state
    state: object = resolved
    for _ in "xx":
        result = THREE.feed(state, bad=True, at=1001.0 + DAY, firing=False)
        state = result.state
    assert (True, 6, 0) == (result.is_firing, result.state.sum, result.state.repeats)


def test_the_resolve_condition_names_the_good_runs_and_the_reason() -> None:
    """The text says how many good runs are needed, why they are more than before, and what a bad one costs."""
    assert "6 good runs in a row; a bad one between them adds 4, up to 6" == THREE.resolve_condition
    assert (
        "12 good runs in a row, instead of 6, as it fired 2 times within a day of the last resolve; "
        "a bad one between them adds 4, up to 12"
    ) == THREE.resolve_condition_after(SpikeState(sum=12, threshold=12, repeats=1, resolved=1.0))
    assert "3 good runs in a row" == Cusum(3, 3, 5, (3,)).resolve_condition


def test_failure_counts_start_when_the_sum_leaves_zero() -> None:
    """The failure counts include the samples since the first failure, with its time."""
    state: object = None
    for number, bad in enumerate([False, True, False, True, True]):
        result = THREE.feed(state, bad=bad, at=100.0 * number, firing=False)
        state = result.state
    assert (result.is_firing, result.counts) == (True, (3, 4, 100.0))


def test_the_resolve_reason_has_the_good_runs_in_a_row() -> None:
    """The resolve reason has the good runs since the last bad one, with the run that resolves the alert."""
    state = SpikeState(sum=6, threshold=6, bad=3, total=7, since=50.0)
    for number, is_bad in enumerate([False, False, True, False, False, False, False, False]):
        state = THREE.feed(state, bad=is_bad, at=500.0 + number, firing=True).state
    result = THREE.feed(state, bad=False, at=600.0, firing=True)
    assert (result.is_firing, result.state) == (False, SpikeState(resolved=600.0))
    assert result.counts.resolve_reason == "recovered: the last 6 runs were good"


def test_good_runs_before_an_alert_fires_are_not_counted() -> None:
    """While the alert does not fire, good runs leave no trace in the state."""
    state = THREE.feed(SpikeState(sum=4, threshold=6, bad=1, total=1), bad=False, at=1.0, firing=False).state
    assert (3, 0) == (state.sum, state.good_in_a_row)


@pytest.mark.parametrize("before", [None, SpikeState(repeats=1, resolved=4.0)])
def test_the_state_at_zero_stays_equal(before: SpikeState | None) -> None:
    """A good sample at a sum of zero leaves an equal state, so that nothing is written."""
    result = THREE.feed(before, bad=False, at=5.0, firing=False)
    assert (before or SpikeState()) == result.state
    assert result.state == THREE.feed(result.state, bad=False, at=6.0, firing=False).state


def test_a_clock_step_back_does_not_change_the_sum() -> None:
    """The sum does not depend on time, and neither ``since`` nor ``resolved`` is later than the current sample."""
    state = THREE.feed(None, bad=True, at=10_000.0, firing=False).state
    result = THREE.feed(state, bad=True, at=400.0, firing=False)
    assert (result.is_firing, result.counts) == (True, (2, 2, 400.0))
    assert 400.0 == THREE.feed(SpikeState(resolved=9_000.0), bad=False, at=400.0, firing=False).state.resolved


def test_the_sum_is_scaled_to_a_new_threshold() -> None:
    """An edited rule scales the sum: a firing alert still needs good runs, and the edit itself fires nothing."""
    half = SpikeState(sum=3, threshold=6, bad=1, total=1, since=1.0)
    full = SpikeState(sum=6, threshold=6, bad=2, total=2, since=1.0)
    twelve = Cusum(step=5, threshold=12, resolve_step=9, good_runs=(12, 24))
    four = Cusum(step=1, threshold=4, resolve_step=2, good_runs=(4,))
    assert sums(twelve, ".", half) == "5"
    assert sums(twelve, "." * 12, full, firing=True).split()[::11] == ["11!", "0"]
    assert sums(four, ".", SpikeState(sum=11, threshold=12, bad=3, total=3)) == "2"
    repeated = SpikeState(sum=6, threshold=12, bad=2, total=2, since=1.0, repeats=1, resolved=0.5)
    assert sums(twelve, ".", repeated, firing=True) == "11!"


def test_a_state_that_was_stored_before_good_runs_could_double_is_read() -> None:
    """A row without the newer fields continues, firing or not."""
    stored = b'{"type":"spike","sum":5,"threshold":6,"bad":2,"total":3,"since":9.0}'
    state = msgspec.json.decode(stored, type=DetectorState)
    assert "4! 3! 2! 1! 0" == sums(THREE, ".....", state, firing=True)
    assert "6!" == sums(THREE, "x", state)


def test_the_state_of_another_detector_is_discarded() -> None:
    """With the state of another detector the sum starts at zero, or at ``good_runs`` while the alert fires."""
    former = Consecutive(type="consecutive").feed(None, bad=True, at=0.0, firing=False).state
    assert sums(THREE, "x", former) == "3"
    assert sums(THREE, "......", former, firing=True) == "5! 4! 3! 2! 1! 0"


@given(samples=st.text("x.", max_size=60))
def test_the_sum_continues_from_its_stored_state(samples: str) -> None:
    """A state encoded and decoded after every sample gives equal results; bad never resolves, good never fires."""
    state, stored, firing = None, None, False
    for number, sample in enumerate(samples):
        now = {"bad": sample == "x", "at": 30.0 * number, "firing": firing}
        result = THREE.feed(state, **now)
        assert result == THREE.feed(stored, **now)
        assert 0 <= result.state.sum <= max(THREE.good_runs)
        assert result.is_firing == firing or result.is_firing == (sample == "x")
        state, firing = result.state, result.is_firing
        stored = msgspec.json.decode(msgspec.json.encode(state), type=DetectorState)
