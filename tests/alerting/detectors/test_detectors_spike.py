from itertools import groupby
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamcanary.alerting.detectors import Consecutive, Cusum, DetectorState, SampleStream, Spike, SpikeState
from streamcanary.alerting.detectors.cusum_run_length import runs_to_fire, runs_to_resolve
from streamcanary.model.canary import Canary
from support.alerting.builders import alerts

YEAR = 365 * 86400.0
THREE = Cusum(step=3, threshold=6)
"""A small CUSUM: two failures in a row fire, and three good runs cancel out a failure."""


def spike(**config: Any) -> Spike:
    """Parse a ``spike`` detector from its configuration."""
    return Spike.model_validate({"type": "spike", **config})


def canary(every: float) -> Canary:
    """Return a canary that runs every ``every`` seconds."""
    return Canary(name="chat", target="t", provider="p", interval=every)


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
        ("xx....x......", "3 6! 5! 4! 3! 2! 5! 4! 3! 2! 1! 0 0"),
    ],
)
def test_the_sum_fires_at_its_threshold_and_resolves_at_zero(samples: str, expected: str) -> None:
    """The sum is capped at the threshold, and a failure while it falls adds its step again."""
    assert expected == sums(THREE, samples)


def test_a_steady_partial_outage_fires_once() -> None:
    """At a constant error rate of one third it fires once and keeps firing for a day."""
    marked = sums(spike(normal="2%", spike="30%").for_stream(SampleStream.of_canary(canary(30))), "x.." * 960).split()
    fires = ["!" in one for one in marked]
    assert [False, True] == [fires for fires, _ in groupby(fires)]


def test_failure_counts_start_when_the_sum_leaves_zero() -> None:
    """The failure counts include the samples since the first failure, with its time."""
    state: object = None
    for number, bad in enumerate([False, True, False, True, True]):
        result = THREE.feed(state, bad=bad, at=100.0 * number, firing=False)
        state = result.state
    assert (result.is_firing, result.counts) == (True, (3, 4, 100.0))


def test_the_resolve_reason_counts_the_resolving_run() -> None:
    """The run that resolves the alert is counted in the resolve reason, and then the state is empty."""
    state = SpikeState(sum=1, threshold=6, bad=2, total=7, since=50.0)
    result = THREE.feed(state, bad=False, at=500.0, firing=True)
    assert (result.is_firing, result.state) == (False, SpikeState())
    assert result.counts.resolve_reason == "recovered: 6 of the last 8 runs were good"


def test_the_state_at_zero_stays_equal() -> None:
    """A good sample at a sum of zero leaves an equal state, so that nothing is written."""
    result = THREE.feed(None, bad=False, at=5.0, firing=False)
    assert result.state == THREE.feed(result.state, bad=False, at=6.0, firing=False).state == SpikeState()


def test_a_clock_step_back_does_not_change_the_sum() -> None:
    """The sum does not depend on time, and ``since`` is never later than the current sample."""
    state = THREE.feed(None, bad=True, at=10_000.0, firing=False).state
    result = THREE.feed(state, bad=True, at=400.0, firing=False)
    assert (result.is_firing, result.counts) == (True, (2, 2, 400.0))


def test_the_sum_is_scaled_to_a_new_threshold() -> None:
    """An edited rule scales the sum: a firing alert still needs good runs, and the edit itself fires nothing."""
    half = SpikeState(sum=3, threshold=6, bad=1, total=1, since=1.0)
    full = SpikeState(sum=6, threshold=6, bad=2, total=2, since=1.0)
    twelve = Cusum(step=5, threshold=12)
    assert sums(twelve, ".", half) == "5"
    assert sums(twelve, "." * 12, full, firing=True).split()[::11] == ["11!", "0"]
    assert sums(Cusum(step=1, threshold=4), ".", SpikeState(sum=11, threshold=12, bad=3, total=3)) == "2"


def test_the_state_of_another_detector_is_discarded() -> None:
    """With the state of another detector the sum starts at zero, or at the threshold while the alert fires."""
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
        assert 0 <= result.state.sum <= THREE.threshold
        assert result.is_firing == firing or result.is_firing == (sample == "x")
        state, firing = result.state, result.is_firing
        stored = msgspec.json.decode(msgspec.json.encode(state), type=DetectorState)


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
def test_the_threshold_is_the_lowest_that_satisfies_false_pages(
    config: dict[str, Any], every: float, expected: Cusum
) -> None:
    """The threshold satisfies ``false_pages`` at the interval of the canary, and a threshold lower by 1 does not."""
    detector = spike(**config)
    cusum = detector.for_stream(SampleStream.of_canary(canary(every)))
    assert expected == cusum
    assert runs_to_fire(*cusum, detector.normal) * every >= detector.false_pages.mean_interval
    assert runs_to_fire(cusum.step, cusum.threshold - 1, detector.normal) * every < detector.false_pages.mean_interval


def test_the_run_length_of_a_known_threshold() -> None:
    """At h = 12 (36 good runs), 2 % errors and a run every 30 s, false alerts are about 610 days apart."""
    assert 610 == pytest.approx(runs_to_fire(8, 36, 0.02) * 30 / 86400, abs=1)
    assert 5 == runs_to_fire(8, 36, 1)


@pytest.mark.parametrize(
    ("step", "threshold", "rate"), [(3, 7, 0.1), (1, 4, 0.3), (5, 5, 0.2), (2, 9, 0.6), (8, 3, 0.5)]
)
def test_run_lengths_equal_the_solution_of_the_markov_chain(step: int, threshold: int, rate: float) -> None:
    """The run lengths equal those of Gaussian elimination on the equations of all values of the sum."""
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
    """Return the mean number of steps to leave a chain with these probabilities, for each start state."""
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
