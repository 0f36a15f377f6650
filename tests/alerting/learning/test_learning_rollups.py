"""Where the recorded runs reach back some hours only, rules learn from rollups what they would learn from the runs."""

from itertools import chain
from statistics import median, median_low
from typing import Any

import pytest
from msgspec import structs

from streamcanary.alerting.engine.bindings import Bindings
from streamcanary.alerting.learning.baseline import LearnedBaseline, LearnedRate, LearnedValues
from streamcanary.alerting.learning.block_rate import clustering_of
from streamcanary.alerting.learning.block_values import CanaryValues, PooledValues
from streamcanary.alerting.learning.history import History
from streamcanary.alerting.learning.rollup_samples import Block
from streamcanary.model.canary import Canary
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind, OutputSpeed
from streamcanary.model.statistics.rollup import QUARTER_DAY
from support.alerting.builders import CHAT, NOON, a_run, alerts
from support.alerting.histories import DAY, answer_times, bursty_samples
from support.alerting.rollups import learn_from_rollups

POEM = structs.replace(CHAT, name="poem")
MIDNIGHT = int(NOON // DAY * DAY)
ERRORS: dict[str, Any] = {"detector": {"type": "spike", "normal": "learned"}}
SLOWER: dict[str, Any] = {"measure": "first_token", "detector": {"type": "shift"}}
OVERLOADED = make_fault(FaultKind.OVERLOADED, Phase.HEADERS, "busy")


def failing(
    samples: list[bool], *, every: float = 30.0, canary: str = "chat", kind: FaultKind = FaultKind.OVERLOADED
) -> list[Outcome]:
    """Return a run for each of ``samples``, failed if it is bad."""
    fault = make_fault(kind, Phase.HEADERS, "busy")
    return [
        a_run(
            run_id=f"{canary}-{number}",
            canary=canary,
            started=MIDNIGHT + number * every,
            kind=OutcomeKind.FAILED if bad else OutcomeKind.OK,
            fault=fault if bad else None,
        )
        for number, bad in enumerate(samples)
    ]


def timed(values: list[tuple[float, float]], canary: str = "chat") -> list[Outcome]:
    """Return a run for each of ``values``, at its time after midnight."""
    return [
        a_run(run_id=f"{canary}-{at}", canary=canary, started=MIDNIGHT + at, time_to_first_token=value)
        for at, value in values
    ]


def learn_from_runs(runs: list[Outcome], *canaries: Canary, **rule: Any) -> LearnedBaseline:
    """Return what ``rule`` learns from all ``runs`` themselves."""
    bindings = Bindings(alerts(rules={"R": rule}).all_rules, "default", canaries)
    history = History(bindings.learning, canaries, {})
    history.observe_all(runs)
    [(_, learned)] = history.learn(NOON)
    assert learned is not None
    return learned


def rate_of(baseline: LearnedBaseline) -> LearnedRate:
    """Return a learned rate."""
    assert isinstance(baseline, LearnedRate)
    return baseline


def values_of(baseline: LearnedBaseline) -> LearnedValues:
    """Return learned values."""
    assert isinstance(baseline, LearnedValues)
    return baseline


def exact_limits(values: list[tuple[float, float]], days: float) -> tuple[float, ...]:
    """Return the limits from all values: the median of hours or days, for each quarter of the day, or the highest."""
    size = 3600.0 if days < 3 else DAY / 4
    periods: dict[float, list[float]] = {}
    for at, value in values:
        periods.setdefault(at // size * size, []).append(value)
    by_quarter: dict[float, list[float]] = {0: [], 1: [], 2: [], 3: []}
    for start, some in periods.items():
        if len(some) >= 25:
            ordered = sorted(some)
            median_value, high = ordered[len(some) // 2], ordered[int(0.9 * len(some))]
            by_quarter[start % DAY // (DAY / 4)].append(max(high, median_value * 2**0.5, median_value + 0.01))
    middle = median_low if days < 3 else median
    limits = tuple(middle(some) for some in by_quarter.values())
    return limits if days >= 7 and max(limits) > 1.2 * min(limits) else (max(limits),)


@pytest.mark.parametrize("spread", [0.02, 0.3, 0.8])
@pytest.mark.parametrize(("days", "busy"), [(1.2, 1.0), (5.0, 1.5), (8.5, 1.5)])
def test_limits_are_within_three_percent_of_those_of_the_values(days: float, busy: float, spread: float) -> None:
    """For one limit, and one of each quarter of the day; the part above them is that of the busiest quarter."""
    values = list(answer_times(days, spread=spread, busy=busy))
    found = values_of(learn_from_rollups(timed(values), CHAT, **SLOWER)["chat"])

    assert found.limits["chat"] == pytest.approx(exact_limits(values, days), rel=0.03)
    ratios = [
        [value / (found.limit("chat", at) or 0) for at, value in values if at % DAY // (DAY / 4) == quarter]
        for quarter in range(4)
    ]
    assert found.above.rate == pytest.approx(
        max(sum(each > 1 for each in some) / len(some) for some in ratios), abs=0.005
    )
    if busy == 1 or days > 7:
        every = sorted(chain.from_iterable(ratios))
        assert found.quantiles[10] == pytest.approx(every[round(0.525 * len(every))], rel=0.05)


@pytest.mark.parametrize("days", [1.5, 8.5])
def test_limits_are_like_those_from_the_runs_themselves(days: float) -> None:
    """A fleet learns about the same whether its runs or its rollups reach back far enough."""
    runs = timed(list(answer_times(days, busy=1.5)))
    exact, found = learn_from_runs(runs, CHAT, **SLOWER), learn_from_rollups(runs, CHAT, **SLOWER)["chat"]
    assert values_of(found).limits["chat"] == pytest.approx(values_of(exact).limits["chat"], rel=0.06)


def test_less_than_a_day_is_not_enough() -> None:
    """The night says nothing about the day."""
    assert {} == learn_from_rollups(timed(list(answer_times(0.9))), CHAT, **SLOWER)


def test_a_speed_is_learned_as_the_time_for_a_token() -> None:
    """Its limit is the speed that 90 % exceed."""
    speeds = [OutputSpeed(tokens_per_second=10 / value, seconds=1.0) for _, value in answer_times(1.2)]
    runs = [a_run(run_id=str(n), started=MIDNIGHT + 60 * n, output_speed=speed) for n, speed in enumerate(speeds)]
    rule = SLOWER | {"measure": "tokens_per_second"}
    limit = values_of(learn_from_rollups(runs, CHAT, **rule)["chat"]).limit("chat", NOON)
    assert limit == pytest.approx(values_of(learn_from_runs(runs, CHAT, **rule)).limit("chat", NOON), rel=0.06)


def test_slow_hours_of_an_incident_are_not_usual() -> None:
    """An afternoon that is three times as slow raises neither the limit nor the part above it."""
    usual = list(answer_times(4.0))
    slow = [(at, 3 * value if 1.5 * DAY < at < 1.7 * DAY else value) for at, value in usual]
    first, second = (values_of(learn_from_rollups(timed(each), CHAT, **SLOWER)["chat"]) for each in (usual, slow))
    assert second.limits["chat"] == pytest.approx(first.limits["chat"], rel=0.03)
    assert second.above.upper_bound == pytest.approx(first.above.upper_bound, abs=0.01)
    assert second.above.in_incidents > 200


@pytest.mark.parametrize("slow", [(0.0, 0.02), (0.45, 0.52)])
def test_an_outage_in_a_young_history_is_no_burst(slow: tuple[float, float]) -> None:
    """After half an hour or more of slow answers, their autocorrelation is about that of a history without them."""
    values = list(answer_times(3, every=30.0))
    outage = [(at, 9.0 if slow[0] <= at / DAY < slow[1] else value) for at, value in values]

    usual, learned = (values_of(learn_from_rollups(timed(some), CHAT, **SLOWER)["chat"]) for some in (values, outage))

    assert learned.above.autocorrelation == pytest.approx(usual.above.autocorrelation, abs=0.1)
    assert learned.above.in_incidents > usual.above.in_incidents


def test_a_rule_over_a_target_compares_each_canary_with_its_own_limit() -> None:
    """Both have limits, and the part above is that of both."""
    quick = list(answer_times(1.5))
    runs = [*timed(quick), *timed([(at, 10 * value) for at, value in quick], "poem")]
    found = values_of(learn_from_rollups(runs, CHAT, POEM, per="target", **SLOWER)["target openai"])
    assert found.limit("poem", NOON) == pytest.approx(10 * (found.limit("chat", NOON) or 0), rel=0.03)
    assert found.above.total in (2 * 360, 2 * 720)  # of one quarter of the day


def test_a_rule_over_thousands_of_canaries_keeps_sums() -> None:
    """Of each canary its limit and one block of quantiles stay: a week of 10,000 canaries would not fit into memory."""
    blocks = [Block(MIDNIGHT + number * QUARTER_DAY, QUARTER_DAY, 700, 70) for number in range(32)]
    canary = CanaryValues((1.0,), 8.0, blocks, clustering_of(blocks, 0.98), [[0.5] * 20] * 28)
    pooled = PooledValues(10_000)
    for number in range(3_000):
        pooled.add(f"chat-{number}", canary)
    assert (3_000, 32, 3_000) == (len(pooled.limits), len(pooled.blocks), len(pooled.quantiles))
    assert (3_000 * 700, 3_000 * 70) == pooled.blocks[0][2:4]
    few = PooledValues(8)
    few.add("chat", canary)
    assert 28 == len(few.quantiles)


def test_the_base_rate_is_that_of_the_runs() -> None:
    """Numbers and autocorrelation are those that the runs have, from a hundred times as many as are kept."""
    runs = failing(bursty_samples(0.01, 0.2, 20_000))
    exact, found = (
        rate_of(learn_from_runs(runs, CHAT, **ERRORS)),
        rate_of(learn_from_rollups(runs, CHAT, **ERRORS)["chat"]),
    )
    assert found.total == pytest.approx(exact.total, rel=0.02)
    assert found.rate == pytest.approx(exact.rate, rel=0.1)
    assert found.autocorrelation == pytest.approx(0.2, abs=0.1)


@pytest.mark.parametrize("length", [40, 120, 1000])
def test_an_outage_is_not_normal(length: int) -> None:
    """Twenty minutes, an hour or eight hours of failures leave the rate as it was."""
    samples = bursty_samples(0.01, 0.0, 14_400)
    before = rate_of(learn_from_rollups(failing(samples), CHAT, **ERRORS)["chat"])
    samples[12_000 : 12_000 + length] = [True] * length
    after = rate_of(learn_from_rollups(failing(samples), CHAT, **ERRORS)["chat"])
    assert after.usable_rate == pytest.approx(before.usable_rate, rel=0.2)
    assert after.autocorrelation < before.autocorrelation + 0.1


def test_only_failures_that_the_rule_counts_are_bad() -> None:
    """A rule about the configuration of requests does not count an overload, and the run is no sample."""
    samples = [number % 50 == 0 for number in range(6000)]
    rule = ERRORS | {"blame": ["config"]}
    found = {}
    for kind in (FaultKind.OVERLOADED, FaultKind.BAD_REQUEST, FaultKind.CLIENT_DELAYED):
        learned = rate_of(learn_from_rollups(failing(samples, kind=kind), CHAT, **rule)["chat"])
        found[kind] = learned.bad, learned.total
    assert {
        FaultKind.OVERLOADED: (0, 5880),
        FaultKind.BAD_REQUEST: (120, 6000),
        FaultKind.CLIENT_DELAYED: (0, 5880),
    } == found


def test_delays_of_the_daemon_hide_no_burst_of_first_attempts() -> None:
    """First attempts that failed because of the daemon are no samples: bursts of the others are as long."""
    overloaded, delayed = (
        make_fault(kind, Phase.HEADERS, "busy") for kind in (FaultKind.OVERLOADED, FaultKind.CLIENT_DELAYED)
    )
    samples = iter(bursty_samples(0.02, 0.3, 24_000, seed=3))
    runs = failing([False] * 24_000)
    for number, run in enumerate(runs):
        fault = delayed if number % 5 == 0 else overloaded if next(samples) else None
        attempt = Attempt(number=1, route="m", started=0, duration=1, fault=fault)
        runs[number] = structs.replace(run, attempts=(attempt,))
    rule = ERRORS | {"measure": "first_attempts"}

    from_runs, learned = learn_from_runs(runs, CHAT, **rule), learn_from_rollups(runs, CHAT, **rule)["chat"]

    assert rate_of(learned).autocorrelation == pytest.approx(rate_of(from_runs).autocorrelation, abs=0.03)


def test_slow_answers_and_fixed_limits_have_a_base_rate() -> None:
    """They are in the counts and in the distributions."""
    runs = timed([(30.0 * number, 5.0 if number % 20 == 0 else 0.5) for number in range(6000)])
    rule = ERRORS | {"measure": "first_token", "limit": "2s"}
    assert rate_of(learn_from_rollups(runs, CHAT, **rule)["chat"]).bad == 300
    slow = [structs.replace(run, kind=OutcomeKind.SLOW) if number % 20 == 0 else run for number, run in enumerate(runs)]
    assert rate_of(learn_from_rollups(slow, CHAT, measure="slow", **ERRORS)["chat"]).bad == 300


def test_only_periods_of_the_request_of_now_count() -> None:
    """What was recorded before the request changed is left out, with the hour of the change."""
    runs = failing([number < 3000 and number % 5 == 0 for number in range(6000)])
    found = rate_of(learn_from_rollups(runs, CHAT, since={"chat": runs[3000].started + 1}, **ERRORS)["chat"])
    assert found.bad == 0
    assert 2800 < found.total < 3000


def test_rollups_under_a_former_name_count() -> None:
    """A canary that was renamed learns from what is stored under both names."""
    renamed = structs.replace(CHAT, name="new", renamed_from="chat")
    runs = [*failing([False] * 2000), *failing([False] * 3000, canary="new")]
    assert rate_of(learn_from_rollups(runs, renamed, **ERRORS)["new"]).total == 5000


def test_a_pooled_rate_is_that_of_all_canaries() -> None:
    """The runs of both canaries count together."""
    runs = [*failing([n % 100 == 0 for n in range(4000)]), *failing([n % 50 == 0 for n in range(4000)], canary="poem")]
    found = rate_of(learn_from_rollups(runs, CHAT, POEM, per="target", **ERRORS)["target openai"])
    assert (found.bad, found.total) == (120, 8000)


def test_a_canary_without_rollups_learns_nothing() -> None:
    """Nor does one with too few."""
    assert {} == learn_from_rollups(failing([False] * 150), CHAT, POEM, **ERRORS)
