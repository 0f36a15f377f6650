"""The rules about vantage points in promtool: regions without data, and canaries of too few regions."""

from pathlib import Path

import pytest

from support.alerting.vantage_points import (
    BEGIN,
    END,
    REGIONS,
    RULES,
    Process,
    Result,
    alerts_at,
    alerts_by_name,
    firing,
    good,
    outage,
    rules,
    three,
)
from support.programs.promtool import run_tests

pytestmark = pytest.mark.real("promtool")


def test_a_region_without_data_is_neither_healthy_nor_failing(tmp_path: Path) -> None:
    """If one of three is silent, two that fail page, and one that fails does not: it is a ticket."""
    silent = Process(region="ap", result=good, gone=600.0)
    cases = {
        "two": [silent, Process(region="eu", result=outage()), Process(region="us", result=outage())],
        "one": [silent, Process(region="eu", result=outage()), Process(region="us", result=good)],
    }
    found = alerts_by_name(tmp_path, **cases)
    silences = {("VantagePointSilent", name) for name in cases}
    assert {("ProviderDown", "two"), ("VantagePointFailing", "one"), *silences} == firing(found)
    begins = [begin for alerts in found["VantagePointSilent"].values() for begin, _ in alerts]
    assert {True} == {600 + 600 <= begin <= 600 + 660 for begin in begins}


def test_a_region_that_fails_alone_proves_nothing_without_a_healthy_one(tmp_path: Path) -> None:
    """If the two others are silent, nobody knows where the cause is: the page is about the missing ones."""
    alone = [
        Process(region="eu", result=outage()),
        *(Process(region=region, result=good, gone=600.0) for region in ("ap", "us")),
    ]
    assert {("VantagePointSilent", "alone"), ("VantagePointsMissing", "alone")} == firing(
        alerts_by_name(tmp_path, alone=alone)
    )


def test_failures_before_a_region_became_silent_do_not_page_later(tmp_path: Path) -> None:
    """A region whose daemon died while it failed is no witness of an outage that another one sees later."""
    died = [
        Process(region="ap", result=outage(600, 9e9), gone=1500.0),
        Process(region="eu", result=outage(BEGIN + 600)),
        Process(region="us", result=good),
    ]
    assert [] == alerts_by_name(tmp_path, died=died)["ProviderDown"]["died"]


def test_a_region_that_runs_no_more_loses_its_state(tmp_path: Path) -> None:
    """Its last failures are in the window still when another region begins to fail: that is no page."""
    stopped = BEGIN + 300

    def failing_until_stopped(time: float) -> Result:
        return None if time >= stopped else outage()(time)

    processes = [
        Process(region="ap", result=failing_until_stopped, every=5.0),
        Process(region="eu", result=outage(stopped + 120), every=5.0),
        Process(region="us", result=good, every=5.0),
    ]
    assert [] == alerts_by_name(tmp_path, BEGIN + 900, stopped=processes)["ProviderDown"]["stopped"]


def test_no_data_resolves_no_page(tmp_path: Path) -> None:
    """If the daemon of a failing region dies in an outage, the page stays, and ends with good runs of the other."""
    dying = three("eu", "us")
    dying[1] = Process(region="eu", result=outage(), gone=BEGIN + 600)
    [(begin, end)] = alerts_by_name(tmp_path, dying=dying)["ProviderDown"]["dying"]
    assert (True, True) == (begin <= BEGIN + 200, END < end <= END + 300)


def test_a_page_without_any_data_ends_after_an_hour(tmp_path: Path) -> None:
    """Nobody knows whether the outage is over; ``VantagePointsMissing`` has been firing for long."""
    gone = [Process(region=region, result=outage(end=9e9), gone=BEGIN + 600) for region in REGIONS]
    found = alerts_by_name(tmp_path, BEGIN + 600 + 3600 + 900, gone=gone)
    [(_, end)], [(missing, _)] = found["ProviderDown"]["gone"], found["VantagePointsMissing"]["gone"]
    assert (True, True) == (BEGIN + 4200 <= end <= BEGIN + 4440, missing <= BEGIN + 600 + 660)


def test_too_few_regions_with_data_are_a_page(tmp_path: Path) -> None:
    """Without two of three, or without all, the alert fires after ten minutes, and ends when they are back."""
    cases = {
        name: [
            Process(region=region, result=good, unscraped=((BEGIN, END),) if region in silent else ())
            for region in REGIONS
        ]
        for name, silent in {"one left": ("ap", "eu"), "none left": REGIONS, "two left": ("us",)}.items()
    }
    found = alerts_by_name(tmp_path, **cases)
    assert {("VantagePointSilent", name) for name in cases} | {
        ("VantagePointsMissing", name) for name in ("one left", "none left")
    } == firing(found)
    for name in ("one left", "none left"):
        [(begin, end)] = found["VantagePointsMissing"][name]
        assert (True, True) == (BEGIN + 585 <= begin <= BEGIN + 660, END - 30 <= end <= END + 30), name


def test_fewer_regions_than_there_should_be_are_a_ticket(tmp_path: Path) -> None:
    """With ``--of 4``, three that have metrics are a ticket after an hour, although a page needs only two."""
    tests = [
        alerts_at(3300, "VantagePointsMissing"),
        alerts_at(
            4500,
            "VantagePointsMissing",
            (
                {"job": "streamcanary", "namespace": "monitoring", "severity": "ticket"},
                {
                    "summary": "3 of 4 vantage points have metrics",
                    "description": "ProviderDown needs 2 of them to fail. Look at the daemons that are missing, and "
                    "whether their series have the label region.",
                },
            ),
        ),
    ]
    series = [one for process in three() for one in process.series(4500)]
    case = {"interval": "15s", "input_series": series, "alert_rule_test": tests}
    code, output = run_tests(tmp_path, rules(of=4), [case])
    assert 0 == code, output


def test_a_canary_of_too_few_regions_is_a_ticket(tmp_path: Path) -> None:
    """A canary of one region, and one whose key is rejected, cannot page; the ticket has their number."""
    cases = {
        "alone": [*three(), Process(region="eu", canary="alone", result=good)],
        "rejected": three("eu", "us", result=outage(0, 9e9, "rejected")),
        "stuck": three("eu", "us", result=outage(0, 9e9, None)),
        "all": three(),
    }
    found = alerts_by_name(tmp_path, **cases)
    assert {("CanaryVantagePointsMissing", name) for name in ("alone", "rejected", "stuck")} == firing(found)
    begins = [begin for alerts in found["CanaryVantagePointsMissing"].values() for begin, _ in alerts]
    assert {True} == {1800 <= begin <= 2400 for begin in begins}


def test_a_canary_that_was_removed_from_all_regions_is_not_missing(tmp_path: Path) -> None:
    """A reload ends its series; the regions have others."""
    removed = [Process(region=region, canary="removed", result=good, gone=1200.0) for region in REGIONS]
    assert set() == firing(alerts_by_name(tmp_path, removed=[*three(), *removed]))


def test_late_scrapes_and_failed_ones_do_not_interrupt_a_page(tmp_path: Path) -> None:
    """Two minutes without a scrape of all regions, in the outage, leave one page."""
    gap = ((BEGIN + 900, BEGIN + 1020),)
    assert 1 == len(alerts_by_name(tmp_path, late=three("eu", "us", unscraped=gap))["ProviderDown"]["late"])


def test_failed_scrapes_do_not_delay_a_ticket(tmp_path: Path) -> None:
    """A scrape that fails every four minutes does not begin its five minutes again."""
    gaps = tuple((float(time), float(time) + 20) for time in range(0, 5400, 240))
    found = alerts_by_name(tmp_path, flaky=three("eu", unscraped=gaps))["VantagePointFailing"]["flaky"]
    assert (1, True) == (len(found), found[0][0] <= BEGIN + 180 + 300 + 60)


def test_a_region_that_was_removed_is_forgotten_after_a_week(tmp_path: Path) -> None:
    """The ticket about it ends."""
    series = [one for process in three() for one in process.series(600)]
    series += [{"series": one["series"].replace("eu", "gone"), "values": one["values"] + " stale"} for one in series]
    week = 7 * 86_400
    query = 'count(vantage:streamcanary_point:last_seen{region="gone"})'
    tests = [
        {"expr": query, "eval_time": f"{600 + time}s", "exp_samples": samples}
        for time, samples in ((week - 900, [{"labels": "{}", "value": 1}]), (week + 900, []))
    ]
    only_memory = RULES.replace("interval: 30s", "interval: 4m")  # a week has 20,000 evaluations otherwise
    assert only_memory != RULES
    case = {"interval": "15s", "input_series": series, "promql_expr_test": tests}
    code, output = run_tests(tmp_path, only_memory, [case], evaluation_interval=240.0)
    assert 0 == code, output
