"""The rules about vantage points in promtool: "k of n regions fail" pages, and one region alone is a ticket."""

from pathlib import Path

import pytest

from streamcanary.model.alerts.matcher import Matcher
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
    partial_outage,
    rules,
    three,
)
from support.programs.promtool import SCRAPE, check_rules, run_tests

pytestmark = pytest.mark.real("promtool")


CANARY = {
    "canary": "chat",
    "target": "openai",
    "provider": "openai",
    "job": "streamcanary",
    "namespace": "monitoring",
}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"label": "cloud_region", "at_least": 3, "of": 5, "by": ("cluster",), "ignoring": ("job", "namespace")},
        {"match": (Matcher.parse('namespace=~"a`b|50%|c\\\\d"'),), "threshold": 0.3},
        {"label": "namespace", "intervals": (10.0, 60.0, 300.0, 3600.0, 14_400.0, 99_999.0)},
        {"at_least": 1},
    ],
    ids=str,
)
def test_promtool_accepts_the_file(options, tmp_path: Path) -> None:
    """The file is valid, without duplicates, with every option and unusual values."""
    code, output = check_rules(tmp_path, rules(**options))
    assert (0, False) == (code, "duplicate" in output), output


def test_an_outage_in_two_of_three_regions_is_one_page(tmp_path: Path) -> None:
    """The alert begins within three minutes of 30 s runs, holds, and ends within five minutes of good runs."""
    [(begin, end)] = alerts_by_name(tmp_path, down=three("eu", "us"))["ProviderDown"]["down"]
    assert (True, True) == (BEGIN + 60 < begin <= BEGIN + 200, END < end <= END + 300)


def test_an_outage_of_the_provider_is_no_ticket_about_a_region(tmp_path: Path) -> None:
    """Regions that notice it sooner, or recover more slowly, are not blamed; nor is anything missing."""
    slower = [
        Process(region="ap", result=outage()),
        Process(region="eu", result=outage(BEGIN + 120, END + 400)),
        Process(region="us", result=good),
    ]
    cases = {"two": three("eu", "us"), "all": three(*REGIONS), "slower": slower}
    assert {("ProviderDown", name) for name in cases} == firing(alerts_by_name(tmp_path, **cases))


def test_the_page_names_the_regions(tmp_path: Path) -> None:
    """It has the labels of the canary, without a region; its texts have the failing regions, and the healthy ones."""
    series = [one for process in three("eu", "us") for one in process.series(2700)]
    annotations = {
        "summary": "chat: openai fails in 2 of 3 vantage points (region: eu, us)",
        "description": "2 or more see it fail, so the provider is down, and not the path from one of them. Healthy: "
        "ap. The faults are in streamcanary_failures_total, and the runs in /api/v1/runs of a daemon.",
    }
    test = alerts_at(2400, "ProviderDown", ({**CANARY, "severity": "page"}, annotations))
    code, output = run_tests(tmp_path, RULES, [{"interval": "15s", "input_series": series, "alert_rule_test": [test]}])
    assert 0 == code, output


def test_the_path_from_one_region_is_a_ticket_with_its_name(tmp_path: Path) -> None:
    """It fires in that region, after the five minutes in which others could follow, and nobody is paged."""
    series = [one for process in three("eu") for one in process.series(4500)]
    annotations = {
        "summary": "chat: openai fails in region eu, and is healthy in ap, us",
        "description": "100% of the runs there fail. The provider is up, and the path from eu to it is down: look at "
        "its network, proxy, DNS and key, and at streamcanary_failures_total by error_type.",
    }
    tests = [
        alerts_at(BEGIN + 240, "VantagePointFailing"),
        alerts_at(BEGIN + 1200, "VantagePointFailing", ({**CANARY, "region": "eu", "severity": "ticket"}, annotations)),
        alerts_at(END + 360, "VantagePointFailing"),
        *(alerts_at(time, "ProviderDown") for time in range(0, 4500, 60)),
    ]
    code, output = run_tests(tmp_path, RULES, [{"interval": "15s", "input_series": series, "alert_rule_test": tests}])
    assert 0 == code, output


def test_the_number_of_regions_is_an_option(tmp_path: Path) -> None:
    """With ``--at-least 3``, two of three are tickets, and all three a page; with 1, one is a page."""
    cases = {"one": three("eu"), "two": three("eu", "us"), "three": three(*REGIONS)}
    found = {number: firing(alerts_by_name(tmp_path, text=rules(at_least=number), **cases)) for number in (1, 2, 3)}
    page, ticket = "ProviderDown", "VantagePointFailing"
    assert {
        1: {(page, "one"), (page, "two"), (page, "three")},
        2: {(ticket, "one"), (page, "two"), (page, "three")},
        3: {(ticket, "one"), (ticket, "two"), (page, "three")},
    } == found


def test_a_partial_outage_is_one_page(tmp_path: Path) -> None:
    """Two thirds of bad runs in two regions fire once, and hold, although the shares vary."""
    processes = [
        *(
            Process(region=region, result=partial_outage(0.67, seed, end=9e9))
            for seed, region in enumerate(REGIONS[:2])
        ),
        Process(region="us", result=good),
    ]
    [(begin, end)] = alerts_by_name(tmp_path, 7200, partial=processes)["ProviderDown"]["partial"]
    assert (True, True) == (begin < BEGIN + 900, 7200 - SCRAPE <= end)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_single_failures_are_no_outage(tmp_path: Path, seed: int) -> None:
    """Five percent of bad runs in every region neither page nor are a ticket in three hours."""
    noise = [
        Process(region=region, result=partial_outage(0.05, seed * 10 + number, -1e9, 1e9))
        for number, region in enumerate(REGIONS)
    ]
    assert set() == firing(alerts_by_name(tmp_path, 10_800, noise=noise))


def test_a_flapping_provider_is_one_page(tmp_path: Path) -> None:
    """A minute of good runs after each two minutes of bad ones ends no alert."""

    def flapping(time: float) -> Result:
        return "bad" if BEGIN <= time < END and (time - BEGIN) % 180 < 120 else "ok"

    found = alerts_by_name(tmp_path, flapping=three(*REGIONS, result=flapping))
    assert 1 == len(found["ProviderDown"]["flapping"])


@pytest.mark.parametrize("word", ["rejected", "broken", None])
def test_what_no_provider_can_fix_is_no_outage(tmp_path: Path, word: Result) -> None:
    """A key that is rejected everywhere, daemons without CPU time, and runs that are skipped do not page.

    After half an hour, a ticket says that the vantage points have no state.
    """
    found = firing(alerts_by_name(tmp_path, case=three(*REGIONS, result=outage(word=word))))
    assert found <= {("CanaryVantagePointsMissing", "case")}


def test_slow_answers_are_healthy(tmp_path: Path) -> None:
    """An answer over the SLO of its canary is an answer."""
    assert set() == firing(alerts_by_name(tmp_path, slow=three(*REGIONS, result=outage(word="slow"))))


def test_other_canaries_and_daemons_without_a_region_do_not_count(tmp_path: Path) -> None:
    """Failures of another canary, or of a daemon without the label, are no second vantage point."""
    cases = {
        "canary": [*three("eu"), *three("us", canary="other")],
        "unlabelled": [*three("eu"), Process(region="", result=outage())],
    }
    assert {("VantagePointFailing", name) for name in cases} == firing(alerts_by_name(tmp_path, **cases))


def test_matchers_select_the_series(tmp_path: Path) -> None:
    """A region that the matchers exclude is no vantage point."""
    text = rules(match=(Matcher.parse('region!="us"'),))
    found = alerts_by_name(tmp_path, text=text, excluded=three("eu", "us"))
    assert {("VantagePointFailing", "excluded")} == firing(found)
