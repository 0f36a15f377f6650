from itertools import groupby
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamcanary.alerting.detectors import Consecutive, Cusum, DetectorState, Spike, SpikeState
from streamcanary.alerting.detectors.cusum_run_length import runs_to_fire, runs_to_resolve
from streamcanary.model.canary import Canary
from support.alerting.builders import alerts

YEAR = 365 * 86400.0
THREE = Cusum(step=3, threshold=6)
"""A small one: two failures in a row fire, each of them is made up for by three good runs."""


def spike(**config: Any) -> Spike:
    """Read a ``spike`` from its configuration."""
    return Spike.model_validate({"type": "spike", **config})


def canary(every: float) -> Canary:
    """Describe a canary that runs each ``every`` seconds."""
    return Canary(name="chat", target="t", provider="p", interval=every)


def sums(cusum: Cusum, samples: str, state: object = None, *, firing: bool = False) -> str:
    """Feed samples (``x`` bad, ``.`` good); return the sum after each, marked with ``!`` while it fires."""
    said = []
    for number, sample in enumerate(samples):
        verdict = cusum.feed(state, bad=sample == "x", at=1000.0 + 30 * number, firing=firing)
        state, firing = verdict.state, verdict.is_firing
        said.append(f"{verdict.state.sum}{'!' if firing else ''}")
    return " ".join(said)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ("....", "0 0 0 0"),
        ("x....", "3 2 1 0 0"),
        ("xx......", "3 6! 5! 4! 3! 2! 1! 0"),
        ("x..x..x.x", "3 2 1 4 3 2 5 4 6!"),
        ("xxxxxxxx......", "3 6! 6! 6! 6! 6! 6! 6! 5! 4! 3! 2! 1! 0"),
        ("xx....x......", "3 6! 5! 4! 3! 2! 5! 4! 3! 2! 1! 0 0"),
    ],
)
def test_a_spike_adds_up_fires_at_its_threshold_and_resolves_at_zero(samples: str, expected: str) -> None:
    """Capped, so that a long outage resolves as fast as a short one; a failure on the way back takes its time again."""
    assert expected == sums(THREE, samples)


def test_a_steady_partial_outage_pages_once() -> None:
    """At a third of errors for a day it fires, and goes on to."""
    said = sums(spike(normal="2%", spike="30%").for_canary(canary(30)), "x.." * 960).split()
    fires = ["!" in one for one in said]
    assert [False, True] == [fires for fires, _ in groupby(fires)]


def test_the_tally_counts_since_the_sum_left_zero() -> None:
    """What a page says: so many of the runs since the first failure, and since when."""
    state: object = None
    for number, bad in enumerate([False, True, False, True, True]):
        verdict = THREE.feed(state, bad=bad, at=100.0 * number, firing=False)
        state = verdict.state
    assert (verdict.is_firing, verdict.counts) == (True, (3, 4, 100.0))


def test_the_end_of_a_spike_says_what_it_has_seen() -> None:
    """The run that resolves it still counts, and then nothing is remembered."""
    state = SpikeState(sum=1, threshold=6, bad=2, total=7, since=50.0)
    verdict = THREE.feed(state, bad=False, at=500.0, firing=True)
    assert (verdict.is_firing, verdict.state) == (False, SpikeState())
    assert verdict.counts.resolve_reason == "recovered: 6 of the last 8 runs were good"


def test_at_rest_nothing_is_written() -> None:
    """The same value again: the state of most canaries at most times."""
    verdict = THREE.feed(None, bad=False, at=5.0, firing=False)
    assert verdict.state == THREE.feed(verdict.state, bad=False, at=6.0, firing=False).state == SpikeState()


def test_a_clock_that_was_set_back_changes_no_sum() -> None:
    """It has no time in it; ``since`` is never later than now."""
    state = THREE.feed(None, bad=True, at=10_000.0, firing=False).state
    verdict = THREE.feed(state, bad=True, at=400.0, firing=False)
    assert (verdict.is_firing, verdict.counts) == (True, (2, 2, 400.0))


def test_another_threshold_keeps_the_evidence() -> None:
    """An edited rule scales the sum; what fires still needs good runs, and what does not is not fired by the edit."""
    half = SpikeState(sum=3, threshold=6, bad=1, total=1, since=1.0)
    full = SpikeState(sum=6, threshold=6, bad=2, total=2, since=1.0)
    twelve = Cusum(step=5, threshold=12)
    assert sums(twelve, ".", half) == "5"
    assert sums(twelve, "." * 12, full, firing=True).split()[::11] == ["11!", "0"]
    assert sums(Cusum(step=1, threshold=4), ".", SpikeState(sum=11, threshold=12, bad=3, total=3)) == "2"


def test_the_state_of_another_detector_starts_it_afresh() -> None:
    """At zero; while it fires nobody knows how bad it is, and it takes all the good runs that there can be."""
    former = Consecutive(type="consecutive").feed(None, bad=True, at=0.0, firing=False).state
    assert sums(THREE, "x", former) == "3"
    assert sums(THREE, "......", former, firing=True) == "5! 4! 3! 2! 1! 0"


@given(samples=st.text("x.", max_size=60))
def test_a_spike_goes_on_from_what_was_stored(samples: str) -> None:
    """Written and read after every sample it says the same; bad never resolves, good never fires."""
    state, kept, firing = None, None, False
    for number, sample in enumerate(samples):
        now = {"bad": sample == "x", "at": 30.0 * number, "firing": firing}
        verdict = THREE.feed(state, **now)
        assert verdict == THREE.feed(kept, **now)
        assert 0 <= verdict.state.sum <= THREE.threshold
        assert verdict.is_firing == firing or verdict.is_firing == (sample == "x")
        state, firing = verdict.state, verdict.is_firing
        kept = msgspec.json.decode(msgspec.json.encode(state), type=DetectorState)


@pytest.mark.parametrize(
    ("config", "every", "expected"),
    [
        ({}, 30, Cusum(step=8, threshold=35)),
        ({}, 300, Cusum(step=8, threshold=28)),
        ({"false_pages": "12 per year"}, 30, Cusum(step=8, threshold=28)),
        ({"normal": "10%", "spike": "50%"}, 30, Cusum(step=3, threshold=24)),
        ({"normal": "1%", "spike": "10%"}, 60, Cusum(step=24, threshold=102)),
    ],
)
def test_the_threshold_follows_from_the_promise_and_the_interval(
    config: dict[str, Any], every: float, expected: Cusum
) -> None:
    """It is the lowest that keeps it: one less would break it."""
    asked = spike(**config)
    cusum = asked.for_canary(canary(every))
    assert expected == cusum
    assert runs_to_fire(*cusum, asked.normal) * every >= asked.false_pages.mean_interval
    assert runs_to_fire(cusum.step, cusum.threshold - 1, asked.normal) * every < asked.false_pages.mean_interval


def test_a_known_threshold() -> None:
    """At h = 12 (36 good runs), 2 % and a run each 30 s: some 600 days between false pages."""
    assert 610 == pytest.approx(runs_to_fire(8, 36, 0.02) * 30 / 86400, abs=1)
    assert 5 == runs_to_fire(8, 36, 1)


@pytest.mark.parametrize(
    ("step", "threshold", "rate"), [(3, 7, 0.1), (1, 4, 0.3), (5, 5, 0.2), (2, 9, 0.6), (8, 3, 0.5)]
)
def test_the_chain_is_solved_as_a_textbook_would(step: int, threshold: int, rate: float) -> None:
    """Against Gauss on the plain equations, one for each value of the sum."""
    stay = range(threshold)
    up = [[0.0] * threshold for _ in stay]
    for at in stay:
        up[at][max(at - 1, 0)] += 1 - rate
        if at + step < threshold:
            up[at][at + step] += rate
    assert solve(up)[0] == pytest.approx(runs_to_fire(step, threshold, rate))
    down = [[0.0] * threshold for _ in stay]  # of the sums 1 to threshold
    for at in stay:
        down[at][min(at + step, threshold - 1)] += rate
        if at > 0:
            down[at][at - 1] += 1 - rate
    assert solve(down)[-1] == pytest.approx(runs_to_resolve(step, threshold, rate))


def solve(chain: list[list[float]]) -> list[float]:
    """Return the mean number of steps until a chain with these probabilities is left, from each of its states."""
    size = len(chain)
    rows = [[(i == j) - chain[i][j] for j in range(size)] + [1.0] for i in range(size)]
    for i in range(size):
        best = max(range(i, size), key=lambda row: abs(rows[row][i]))
        rows[i], rows[best] = rows[best], rows[i]
        for other in range(size):
            if other != i:
                factor = rows[other][i] / rows[i][i]
                rows[other] = [a - factor * b for a, b in zip(rows[other], rows[i], strict=True)]
    return [rows[i][size] / rows[i][i] for i in range(size)]


@pytest.mark.parametrize(
    ("written", "apart", "shown"),
    [
        ("1 per 365d", YEAR, "1 per 365d"),
        ("2 per month", 15 * 86400.0, "2 per 30d"),
        (" 3  per  week ", 7 * 86400 / 3, "3 per 7d"),
        ("1 per year", YEAR, "1 per 365d"),
        ("1 per 12h", 43200.0, "1 per 12h"),
    ],
)
def test_false_pages_are_a_number_in_a_time(written: str, apart: float, shown: str) -> None:
    """As a person says it."""
    config = spike(false_pages=written)
    assert (apart, shown) == (config.false_pages.mean_interval, config.model_dump()["false_pages"])


@pytest.mark.parametrize(
    ("config", "path", "message"),
    [
        ({"spike": "2%"}, "spike", "2% is not more than normal (2%)"),
        ({"normal": "40%"}, "spike", "30% is not more than normal (40%)"),
        ({"spike": "100%"}, "spike", "a single good run disproves: write 90%"),
        ({"normal": "60%", "spike": "80%"}, "spike", "80% is too near to normal (60%)"),
        ({"normal": "0.001%", "spike": "0.002%"}, "spike", "too near to normal"),
        ({"normal": 0}, "normal", "more than 0% and at most 100%"),
        ({"false_pages": "seldom"}, "false_pages", "write a number and a time, such as 1 per 365d"),
        ({"false_pages": 3}, "false_pages", "write a number and a time"),
        ({"false_pages": "1 per fortnight"}, "false_pages", "'fortnight' is no time: write one such as 365d"),
        ({"false_pages": "0 per 365d"}, "false_pages", "no detector is never wrong"),
        ({"false_pages": "1 per 0s"}, "false_pages", "more than one false page per hour"),
        ({"false_pages": "9 per 1h"}, "false_pages", "more than one false page per hour"),
        ({"false_pages": "1 per 99999d"}, "false_pages", "is no time"),
        ({"for": "1m"}, "for", "Extra inputs are not permitted"),
    ],
)
def test_what_is_no_spike_is_refused_at_its_key(config: dict[str, Any], path: str, message: str) -> None:
    """Each with what would be right."""
    with pytest.raises(ValidationError) as caught:
        spike(**config)
    [problem] = caught.value.errors(include_input=False, include_url=False)
    assert path == ".".join(map(str, problem["loc"]))
    assert message in problem["msg"]


def test_a_promise_that_cannot_be_kept_is_refused_at_its_key() -> None:
    """Two rates next to each other, and a page in ten years: no sum of a sane size tells them apart."""
    rules = {"Spike": {"detector": {"type": "spike", "normal": "0.3%", "spike": "0.5%", "false_pages": "1 per 3650d"}}}
    [misfit] = alerts(rules=rules).config_errors([canary(0.2)])
    assert ("rules", "Spike", "detector", "false_pages") == misfit.path
    assert "raise spike, or allow more" in misfit.message
