"""Shapes of outages: their text, and how soon rules detect them in simulations with the real detectors."""

import math
import statistics
from random import Random
from typing import Any

import pytest
from msgspec import structs

from streamcanary.alerting.forecast.shapes import (
    STANDARD_SHAPES,
    RuleDelays,
    Shape,
    ShapeForecast,
    can_simulate,
    forecast_shapes,
    parse_shape,
)
from streamcanary.alerting.forecast.shapes.canary_sample import MAX_CANARIES, sample_canaries
from streamcanary.alerting.forecast.shapes.sample_path import SamplePath
from streamcanary.alerting.forecast.shapes.shape import HORIZON
from streamcanary.alerting.rules import Rule
from streamcanary.model.canary import Canary
from streamcanary.model.schedules.cron import Cron
from support.alerting.builders import CHAT, NOON

EIGHT = [structs.replace(CHAT, name=f"c{number}", model=f"m{number}") for number in range(8)]
SPIKE = {"type": "spike", "normal": "2%", "spike": "30%", "autocorrelation": 0}
THREE = {"type": "consecutive", "failures": 3}


def draw(seed: int) -> Random:
    """Return a generator of the numbers of ``seed``."""
    return Random(seed)  # noqa: S311


def rule(detector: dict[str, Any], **keys: Any) -> Rule:
    """Return a rule with ``detector``."""
    return Rule.model_validate({"detector": detector, **keys})


def simulated(text: str, canaries: list[Canary], runs: int = 60, **rules: Rule) -> tuple[ShapeForecast, Shape]:
    """Return the forecast of ``rules`` for one shape, at a base rate of 2 %."""
    shape = parse_shape(text)
    return forecast_shapes(rules, canaries, [shape], 0.02, runs=runs), shape


def median(text: str, canaries: list[Canary], only: Rule, runs: int = 60) -> float | None:
    """Return the median delay of a rule for one shape."""
    found, shape = simulated(text, canaries, runs, Only=only)
    return found.delays["Only", shape].median


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("50%", {0: 0.5, 9999: 0.5}),
        ("0.5 on all", {0: 0.5}),
        ("10m of 100%", {0: 1.0, 599: 1.0, 600: 0.0, 9999: 0.0}),
        ("60s of 100% every 5m", {0: 1.0, 59: 1.0, 60: 0.0, 299: 0.0, 300: 1.0, 361: 0.0}),
        ("2% to 60% in 30m", {0: 0.02, 900: 0.31, 1800: 0.6, 9999: 0.6}),
        ("60% to 10% in 100s on half", {0: 0.6, 50: 0.35, 200: 0.1}),
    ],
)
def test_a_shape_is_an_error_rate_over_time(text: str, rates: dict[float, float]) -> None:
    """A shape is a steady rate, bursts that end or repeat, or a change from one rate to another."""
    shape = parse_shape(text)
    assert rates == {at: pytest.approx(shape.rate_at(at)) for at in rates}


@pytest.mark.parametrize(
    ("which", "count"), [("all", 8), ("half", 4), ("25%", 2), ("one of 4", 2), ("one of 100", 1), ("one", 1)]
)
def test_a_shape_hits_a_part_of_the_canaries(which: str, count: int) -> None:
    """A shape hits all, a part of them drawn at random, but at least one."""
    assert {count} == {len(parse_shape(f"50% on {which}").hit_canaries(EIGHT, draw(seed))) for seed in range(20)}


def test_a_shape_hits_one_value_of_a_scope() -> None:
    """``one model`` hits all canaries of a random model, and ``one LABEL`` those of a value of the label."""
    canaries = [structs.replace(one, model=f"m{number % 2}") for number, one in enumerate(EIGHT)]
    hits = {tuple(sorted(parse_shape("50% on one model").hit_canaries(canaries, draw(seed)))) for seed in range(20)}
    assert {("c0", "c2", "c4", "c6"), ("c1", "c3", "c5", "c7")} == hits
    labelled = [structs.replace(EIGHT[0], labels={"Region": "eu"}), EIGHT[1]]
    assert {"c0"} == parse_shape("50% on one Region").hit_canaries(labelled, draw(1))
    assert set() == parse_shape("50% on one zone").hit_canaries(labelled, draw(1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a shape; write one such as '50% on all'"),
        ("broken", "is not a shape; write one such as '50% on all'"),
        ("50% an all", "is not a shape"),
        ("x" * 200, "is longer than 80 characters"),
        ("50", "has the error rate '50', which must be more than 0% and at most 100%; did you mean 50%?"),
        ("120%", "has the error rate '120%', which must be more than 0% and at most 100%"),
        ("0% on all", "has an error rate of 0%: it is no outage"),
        ("60s of 100% every 30s", "1m every 30s never ends; write a longer time after every, or only the rate: 100%"),
        ("60 of 100% every 5m", "has the time '60', which is not a duration: write a number with a unit"),
        ("9999d of 50%", "has the time '9999d', which must be at most ten years"),
        ("0s of 50%", "has the time '0s', which must be longer than zero"),
        ("10% of 60s", "has the rate before the time; write 60s of 10%"),
        ("2% to 2% in 30m", "does not change from 2%"),
        ("5h of 50%", "has the time 5h; a simulation lasts 4h: write a shorter one"),
        ("50% on tree", "hits 'tree', which is unknown; write all, half, 25%, one, one of 8, or one of a scope"),
        ("50% on one of 0", "hits one of no canaries"),
        ("50% on 0 of 8", "hits '0 of 8', which is unknown; write all, half, 25%, one, one of 8"),
        ("50% on 25", "hits the share '25', which must be more than 0% and at most 100%; did you mean 25%?"),
    ],
)
def test_an_unreadable_shape_is_an_error(text: str, message: str) -> None:
    """The error says what is wrong, and what would be right."""
    with pytest.raises(ValueError) as raised:
        parse_shape(text)
    assert str(raised.value).startswith(message)


def test_a_delay_is_exact_where_nothing_is_random() -> None:
    """Three in a row of a full outage fire at the third run: two intervals and a random part of one later."""
    found, shape = simulated("100%", [CHAT], Three=rule(THREE))
    delays = found.delays["Three", shape].delays
    assert 60 == len(delays)
    assert all(delay is not None and 30 <= delay < 90 for delay in delays)  # a failure just before may count
    assert 60 < statistics.median(delay for delay in delays if delay) < 90


def test_a_simulation_is_the_same_each_time() -> None:
    """The seed is fixed, so that two forecasts are equal."""
    rules = {"Both": rule(SPIKE, per=["canary", "target"])}
    first, again = (forecast_shapes(rules, EIGHT, STANDARD_SHAPES[:1], 0.02, runs=10) for _ in range(2))
    assert first == again


def test_simulated_delays_are_those_of_the_forecast() -> None:
    """The mean delay of one canary is that which ``check`` computes for it, within the error of 300 runs."""
    from streamcanary.alerting.detectors import SampleStream, Spike
    from streamcanary.alerting.forecast import forecast_detector

    found = forecast_shapes({"One": rule(SPIKE)}, [CHAT], [parse_shape("50%")], 0.001, runs=300, work=math.inf)
    [delays] = found.delays.values()
    detector = Spike.model_validate(SPIKE)
    expected = forecast_detector(detector, SampleStream.of_canary(CHAT), 0.02).detection_delays[1]
    assert expected == pytest.approx(statistics.mean(delays.detected), rel=0.06)


def test_pooled_and_single_evidence_see_every_shape_early() -> None:
    """A rule per canary and target is about as soon as the better of the two for outages of all and of one model."""
    single, pooled = rule(SPIKE), rule(SPIKE, per="target")
    both = rule(SPIKE, per=["canary", "target"])
    on_all = [median("50% on all", EIGHT, one) for one in (single, pooled, both)]
    on_one = [median("100% on one model", EIGHT, one) for one in (single, pooled, both)]
    assert [True, True] == [max(on_all[1:]) < 60 < 150 < on_all[0], min(on_one[0], on_one[2]) < 180 < 400 < on_one[1]]  # type: ignore[type-var, operator]


def test_the_first_alert_of_a_rule_names_its_scope() -> None:
    """What the alert is about depends on the shape: the target if all fail, the canary if one does."""
    both = rule(SPIKE, per=["canary", "target"])
    scopes = []
    for text in ("50% on all", "100% on one model"):
        found, shape = simulated(text, EIGHT, Both=both)
        scopes.append(found.delays["Both", shape].scope)
    assert ["target", "canary"] == scopes


def test_the_first_rule_is_that_which_is_soonest_in_most_runs() -> None:
    """The rule that detects an outage first in most runs is named, with the part of the runs."""
    rules = {"Slow": rule({"type": "consecutive", "failures": 9}), "Quick": rule(THREE)}
    found, shape = simulated("100%", [CHAT], 10, **rules)
    assert ("Quick", 1.0) == found.first(shape)
    assert None is simulated("1%", [CHAT], 2, Never=rule({"type": "consecutive", "failures": 50}))[0].first(
        parse_shape("1%")
    )


def test_an_outage_that_is_seldom_detected_has_no_median() -> None:
    """With less than half of the runs detected, there is only the part that is."""
    never = rule({"type": "consecutive", "failures": 50})
    found, shape = simulated("10%", [CHAT], 3, Never=never)
    delays = found.delays["Never", shape]
    assert (None, 0.0, []) == (delays.median, delays.detected_share, delays.detected)
    assert 5.0 == RuleDelays((None, 4.0, 6.0)).median
    assert None is RuleDelays((None, None, 6.0)).median


def test_a_rule_that_fires_without_an_outage_detects_nothing() -> None:
    """A burn rate of 10 % at a base rate of 20 % fires always, and is never the first."""
    always = rule(
        {"type": "burn_rate", "objective": "90%", "windows": [{"long": "1h", "short": "5m", "rate": 1}]},
        per="target",
    )
    shape = parse_shape("50%")
    found = forecast_shapes({"Always": always}, EIGHT, [shape], 0.2, runs=8)
    assert (True, None) == (found.delays["Always", shape].fires_before, found.first(shape))


def test_long_windows_are_full_when_an_outage_begins() -> None:
    """A burn rate over six hours does not fire as soon as after a start, when its windows hold little."""
    burn = rule({"type": "burn_rate", "objective": "95%", "windows": [{"long": "6h", "short": "30m", "rate": 6}]})
    # 30 % of 720 runs, of which 2 % have failed before: 28 % of 6 h, and a little more for whole buckets
    delay = median("100%", [CHAT], burn, runs=4)
    assert delay == pytest.approx(0.286 * 6 * 3600, rel=0.03)


def test_windows_of_a_ratio_are_full_when_an_outage_begins() -> None:
    """Half of a window of ten runs fails five runs after a full outage begins, not at the first five."""
    delay = median("100%", [CHAT], rule({"type": "ratio", "over": "5m", "threshold": "50%"}))
    assert 110 < (delay or 0) < 150


def test_only_rules_about_failures_of_a_provider_are_simulated() -> None:
    """An outage says nothing about answers that are slow, runs that are missing, and keys that are rejected."""
    assert [True, True, False, False, False, False] == [
        can_simulate(one)
        for one in (
            rule(THREE),
            rule(THREE, measure="first_attempts"),
            rule(THREE, measure="first_token", limit="2s"),
            rule(THREE, blame=["config"]),
            rule({"type": "no_data"}),
            rule({"type": "shift"}, measure="first_token"),
        )
    ]
    assert () == simulated("50%", [CHAT], 2, Slow=rule(THREE, measure="slow"))[0].rules


def test_canaries_with_cron_are_simulated_at_their_times() -> None:
    """An outage at any moment is detected when the canary runs: here every hour, and at the second failure."""
    hourly = structs.replace(CHAT, interval=3600.0, cron=Cron.parse("0 * * * *"))
    delays = simulated("100%", [hourly], 16, Two=rule({"type": "consecutive", "failures": 2}))[0]
    [found] = delays.delays.values()
    assert all(delay is not None and delay <= 7200 for delay in found.delays)


def test_a_path_is_the_same_for_all_rules() -> None:
    """Iterating again yields the same samples in time order, one for each interval of each canary."""
    path = SamplePath([CHAT, structs.replace(CHAT, name="slow", interval=60.0)], NOON, draw(1))
    first = list(path.until(3600))
    assert first == list(path.until(3600)) == sorted(first)
    assert [120, 60] == [sum(sample.number == number for sample in first) for number in (0, 1)]


def test_of_many_canaries_some_of_each_kind_are_simulated() -> None:
    """Each rule watches some of the sample, and each schedule and target is in it as far as there is room."""
    many = [
        structs.replace(
            CHAT, name=f"c{number}", target=f"t{number % 2}", labels={"tier": "x" if number == 999 else "y"}
        )
        for number in range(1000)
    ]
    rules = {"All": rule(THREE), "Few": rule(THREE, match=['tier="x"'])}
    some = sample_canaries(rules, many)
    assert (MAX_CANARIES, {"t0", "t1"}) == (len(some), {canary.target for canary in some})
    assert ["c999"] == [canary.name for canary in some if canary.labels["tier"] == "x"]
    assert many[:5] == sample_canaries(rules, many[:5])


def test_a_sample_keeps_the_false_pages_of_each_canary() -> None:
    """The threshold of a canary is that for its part of the false pages among all, not among the sample."""
    few, many = EIGHT[:1], [structs.replace(CHAT, name=f"c{number}") for number in range(1000)]
    one = median("100% on all", few, rule(SPIKE))
    assert one is not None
    assert one < (median("100% on all", many, rule(SPIKE)) or 0)


def test_little_work_means_fewer_runs() -> None:
    """After its least work, three long runs here, a rule has five runs of an outage, or fewer if none is detected."""
    rules = {"Never": rule({"type": "consecutive", "failures": 50}), "Three": rule(THREE)}
    shape = parse_shape("20%")
    found = forecast_shapes(rules, EIGHT, [shape], 0.02, work=0.0)
    cells = [found.delays[name, shape] for name in rules]
    assert [3, True] == [len(cells[0].delays), 5 <= len(cells[1].delays) < 60]


def test_nothing_lasts_longer_than_the_horizon() -> None:
    """No delay is longer than the simulated time."""
    found, shape = simulated("10%", [CHAT], 20, Four=rule({"type": "consecutive", "failures": 3}))
    assert all(delay < HORIZON for delay in found.delays["Four", shape].detected)
