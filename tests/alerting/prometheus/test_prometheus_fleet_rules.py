"""The rules about a fleet in promtool: one alert for all members, from the share that fails, and tickets."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from streamcanary.alerting.prometheus.fleet_rules import FleetRuleOptions, detection_delay, export_fleet_rules
from streamcanary.alerting.prometheus.rule_file import EVALUATION_INTERVAL
from streamcanary.model.alerts.matcher import Matcher
from support.alerting.fleets import Fleet, Result
from support.programs.promtool import check_rules, firing_times, run_tests

pytestmark = pytest.mark.real("promtool")

EVERY = 30.0
"""Seconds between two runs of a whole fleet."""

BEGIN, END = 900.0, 2700.0
"""The time of an outage, in seconds."""

RULES = export_fleet_rules(FleetRuleOptions())


def outage(share: float = 1.0, begin: float = BEGIN, end: float = END, seed: int = 1) -> Callable[[int, float], Result]:
    """Return results of which ``share`` are bad during an outage, independent of each other, and good otherwise."""

    def result(member: int, due: float) -> Result:
        is_bad = begin <= due < end and Random(f"{seed} {member} {due:.3f}").random() < share  # noqa: S311
        return "bad" if is_bad else "ok"

    return result


def of_members(bad: int, word: str | None = "bad") -> Callable[[int, float], Result]:
    """Return results of which those of the first ``bad`` members are ``word`` from the begin of an outage on."""
    return lambda member, due: word if member < bad and due >= BEGIN else "ok"


def fleet(members: int, result: Callable[[int, float], Result], **fields) -> Fleet:
    """Build a fleet that has the number of members that it is configured for, unless ``fields`` say otherwise."""
    return Fleet(members=members, every=EVERY, result=result, **{"replicas": members, **fields})


def fired(folder: Path, alert: str, until: float, rules: str = RULES, **fleets: Fleet) -> dict[str, list[float]]:
    """Return the times at which ``alert`` fires, by fleet; each fleet has a Prometheus of its own."""
    return firing_times(folder, rules, alert, {name: one.series(until) for name, one in fleets.items()})


def test_promtool_accepts_the_file(tmp_path: Path) -> None:
    """The file is valid with and without options."""
    matcher = Matcher.parse('namespace=~"shop|pay"')
    options = FleetRuleOptions(by=("region",), match=(matcher,), threshold=0.3)
    assert [0, 0] == [check_rules(tmp_path, text)[0] for text in (RULES, export_fleet_rules(options))]


def test_an_outage_is_noticed_at_the_rate_of_the_whole_fleet(tmp_path: Path) -> None:
    """Half of ten runs of the fleet after the begin, not half of the interval of a member, the alert fires.

    So it does with half of the members that the configuration says; runs are seldom then. It resolves within ten runs
    of the fleet after the end.
    """
    found = fired(
        tmp_path,
        "FleetFailing",
        3600,
        twenty=fleet(20, outage()),
        hundred=fleet(100, outage()),
        fewer=fleet(10, outage(), replicas=20),
    )
    for name, between_runs in (("twenty", 30.0), ("hundred", 30.0), ("fewer", 60.0)):
        first, last = found[name][0] - BEGIN, found[name][-1] - END
        assert 3.5 * between_runs <= first <= 7 * between_runs + 45, (name, first)
        assert 0 < last <= 10 * between_runs + 45, (name, last)


def test_a_partial_outage_is_one_alert(tmp_path: Path) -> None:
    """Two thirds of bad runs fire once, and hold, although the share of the recent runs varies."""
    times = fired(tmp_path, "FleetFailing", 3000, partial=fleet(40, outage(0.67, end=9999.0)))["partial"]
    assert BEGIN < times[0] < BEGIN + 600
    gaps = {later - earlier for earlier, later in pairwise(times)}
    assert gaps <= {15.0, 30.0}


@pytest.mark.parametrize("members", [2, 5, 20])
def test_single_failures_do_not_fire(tmp_path: Path, members: int) -> None:
    """Five percent of bad runs, of any members at any time, are no outage in three hours."""
    result = outage(0.05, -1e9, 1e9, seed=members)
    assert {"noise": []} == fired(tmp_path, "FleetFailing", 10_800, noise=fleet(members, result))


def test_a_few_failing_members_are_no_outage(tmp_path: Path) -> None:
    """One of two, one of three, two of five and six of twenty members are a ticket, not a page."""
    numbers = {"two": (2, 1), "three": (3, 1), "five": (5, 2), "twenty": (20, 6)}
    fleets = {name: fleet(members, of_members(bad)) for name, (members, bad) in numbers.items()}
    assert {name: [] for name in numbers} == fired(tmp_path, "FleetFailing", 3600, **fleets)


def test_small_fleets_fire_when_most_members_fail(tmp_path: Path) -> None:
    """One of one, both of two, two of three and three of five members are an outage."""
    numbers = {"one": (1, 1), "two": (2, 2), "three": (3, 2), "five": (5, 3)}
    fleets = {name: fleet(members, of_members(bad)) for name, (members, bad) in numbers.items()}
    found = fired(tmp_path, "FleetFailing", 3600, **fleets)
    assert True is all(BEGIN + 200 < times[0] < BEGIN + 600 for times in found.values()), found


def test_runs_that_break_are_no_failures(tmp_path: Path) -> None:
    """Members that lack CPU time, whose runs are internal errors, do not page."""
    assert {"broken": []} == fired(tmp_path, "FleetFailing", 3600, broken=fleet(20, of_members(15, "broken")))


def test_members_that_fail_for_long_are_one_ticket(tmp_path: Path) -> None:
    """After three intervals without a good run, there is one ticket with the number of members."""
    series = fleet(20, of_members(3)).series(5400)
    labels = {"canary": "chat", "target": "openai", "provider": "openai", "job": "shop", "severity": "ticket"}
    tests = [
        {
            "interval": "15s",
            "input_series": series,
            "alert_rule_test": [
                {"eval_time": "40m", "alertname": "FleetMemberFailing", "exp_alerts": []},
                {
                    "eval_time": "65m",
                    "alertname": "FleetMemberFailing",
                    "exp_alerts": [
                        {
                            "exp_labels": labels,
                            "exp_annotations": {
                                "summary": "chat of shop: 3 of its members fail for long, the others do not",
                                "description": "They have had no good run for 3 intervals: look at node, network, key. "
                                "Find them with streamcanary_last_failure_time_seconds > "
                                "streamcanary_last_success_time_seconds.",
                            },
                        }
                    ],
                },
            ],
        }
    ]
    code, output = run_tests(tmp_path, RULES, tests)
    assert 0 == code, output


def test_a_long_outage_of_all_is_no_ticket_about_members(tmp_path: Path) -> None:
    """While the fleet fails, and until its members have run again, there is the page only."""
    found = fired(tmp_path, "FleetMemberFailing", 9000, outage=fleet(20, outage(end=BEGIN + 3600)))
    assert {"outage": []} == found


def test_silent_members_are_a_ticket(tmp_path: Path) -> None:
    """A fifth of the members without a run for three intervals fires; fewer do not, nor do new ones."""
    fleets = {
        "four": fleet(20, of_members(4, None)),
        "three": fleet(20, of_members(3, None)),
        "never": fleet(20, lambda member, due: None, born=0.0),
        "new": fleet(20, outage(0.0), born=0.0),
    }
    found = fired(tmp_path, "FleetSilent", 4500, **fleets)
    assert ([], []) == (found["three"], found["new"])
    assert BEGIN + 1200 <= found["four"][0] <= BEGIN + 1800 + 120 + 300 + 60
    assert 1800 <= found["never"][0] <= 1800 + 120 + 300 + 60


def test_another_size_than_configured_is_a_ticket(tmp_path: Path) -> None:
    """Less than a third of the configured members, or more than three times as many, for an hour."""
    sizes = {"fifth": 2, "third": 4, "triple": 30, "quadruple": 40}
    fleets = {name: fleet(members, outage(0.0), replicas=10) for name, members in sizes.items()}
    found = fired(tmp_path, "FleetSizeMismatch", 4500, **fleets)
    assert {"fifth", "quadruple"} == {name for name, times in found.items() if times}
    assert 3600 <= found["fifth"][0] <= 3660


def test_a_fleet_that_vanishes_is_a_ticket(tmp_path: Path) -> None:
    """Without any member left, the ticket fires after ten minutes, and as long as there is none."""
    gone, until = fleet(4, outage(0.0), gone=3900.0), 14_400.0
    found = fired(tmp_path, "FleetAbsent", until, gone=gone, stays=fleet(4, outage(0.0)))
    assert ([], True) == (found["stays"], 4500 <= found["gone"][0] <= 4560)
    assert until - 60 <= found["gone"][-1]
    assert {later - earlier for earlier, later in pairwise(found["gone"])} <= {15.0, 30.0}


def test_a_fleet_that_returns_ends_the_ticket(tmp_path: Path) -> None:
    """With members again, also under other names, the ticket resolves."""
    gone, back = fleet(4, outage(0.0), gone=1800.0), fleet(4, outage(0.0), born=7200.0)
    new = [{**one, "series": one["series"].replace("pod-", "pod-new-")} for one in back.series(9000)]
    series = [*gone.series(9000), *new]
    times = firing_times(tmp_path, RULES, "FleetAbsent", {"back": series})["back"]
    assert (True, True) == (2400 <= times[0] <= 2460, 7170 <= times[-1] <= 7230)


def test_a_fleet_that_was_removed_is_forgotten(tmp_path: Path) -> None:
    """The ticket ends after a week."""
    week = 7 * 86400
    gone = {"series": 'streamcanary_fleet_members{job="shop"}', "values": "4x120 stale"}
    tests = [
        {
            "interval": "15s",
            "input_series": [gone],
            "promql_expr_test": [
                {
                    "expr": "count(fleet:streamcanary_members:last_seen)",
                    "eval_time": f"{1800 + time}s",
                    "exp_samples": samples,
                }
                for time, samples in ((week - 600, [{"labels": "{}", "value": 1}]), (week + 600, []))
            ],
        }
    ]
    seldom = RULES.replace(
        f"interval: {EVALUATION_INTERVAL}", "interval: 4m"
    )  # a week has 20,000 evaluations otherwise
    assert seldom != RULES
    code, output = run_tests(tmp_path, seldom, tests, evaluation_interval=240.0)
    assert 0 == code, output


def test_fleets_and_parts_of_a_fleet_are_apart(tmp_path: Path) -> None:
    """Another job is another fleet; with ``--by region``, so is each region."""

    def in_region(member: int) -> dict[str, str]:
        return {"region": "eu" if member < 10 else "us"}

    def in_eu(member: int, due: float) -> Result:
        return "bad" if due >= BEGIN and in_region(member)["region"] == "eu" else "ok"

    series = [
        *fleet(40, in_eu, labels=in_region).series(3600),
        *fleet(10, outage(0.0), job="other").series(3600),
    ]
    rules = {by: export_fleet_rules(FleetRuleOptions(by=by)) for by in ((), ("region",))}
    found = {by: firing_times(tmp_path, text, "FleetFailing", {"all": series})["all"] for by, text in rules.items()}
    assert [] == found[()]
    assert BEGIN + 100 < found["region",][0] < BEGIN + 1200


def test_a_daemon_without_a_fleet_is_not_evaluated(tmp_path: Path) -> None:
    """A daemon that is alone has rules of its own."""
    alone = Fleet(members=1, every=EVERY, replicas=1, result=outage(), is_fleet=False)
    assert {"alone": []} == fired(tmp_path, "FleetFailing", 3600, alone=alone)
    assert {"alone": []} == fired(tmp_path, "FleetMemberFailing", 3600, alone=alone)


def test_a_matcher_selects_the_fleets(tmp_path: Path) -> None:
    """With ``--match``, only fleets with the label fire, also beside the rules about all."""
    one, other = (fleet(20, outage(), job=job, labels=lambda _: {"namespace": "a"}) for job in ("shop", "pay"))
    text = export_fleet_rules(FleetRuleOptions(match=(Matcher.parse('job="pay"'),)))
    found = {
        name: firing_times(tmp_path, text, "FleetFailing", {"all": some.series(2000)})["all"]
        for name, some in (("shop", one), ("pay", other))
    }
    assert ([], True) == (found["shop"], bool(found["pay"]))


@pytest.mark.parametrize(("members", "expected"), [(2, 270.0), (5, 225.0), (10, 150.0), (100, 150.0)])
def test_the_forecast_of_the_delay_is_that_of_prometheus(tmp_path: Path, members: int, expected: float) -> None:
    """``check`` prints the time from the begin of an outage to the alert, without scrape and evaluation."""
    assert expected == detection_delay(members * EVERY, members)
    times = fired(tmp_path, "FleetFailing", 2000, outage=fleet(members, outage()))["outage"]
    assert abs(times[0] - BEGIN - expected) <= 90
