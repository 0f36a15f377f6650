"""The rules about vantage points in promtool: "k of n regions fail" pages, and one region alone is a ticket."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from streamcanary.alerting.prometheus.vantage_queries import VantageRuleOptions
from streamcanary.alerting.prometheus.vantage_rules import export_vantage_rules
from streamcanary.model.alerts.matcher import Matcher
from support.alerting.vantage_points import Process, Result
from support.programs.promtool import SCRAPE, check_rules, firing_times, run_tests

pytestmark = pytest.mark.real("promtool")

BEGIN, END = 1800.0, 3600.0
"""The time of an outage, in seconds."""

REGIONS = ("ap", "eu", "us")
ALERTS = (
    "ProviderDown",
    "VantagePointFailing",
    "VantagePointSilent",
    "VantagePointsMissing",
    "CanaryVantagePointsMissing",
)


def rules(**options) -> str:
    """Return the rule file for canaries that run every 30 seconds."""
    return export_vantage_rules(VantageRuleOptions(**{"intervals": (30.0,), **options}))


RULES = rules()


def good(time: float) -> Result:
    """Return the result of a run of a healthy provider."""
    return "ok"


def outage(begin: float = BEGIN, end: float = END, word: Result = "bad") -> Callable[[float], Result]:
    """Return results that are ``word`` during an outage, and good otherwise."""
    return lambda time: word if begin <= time < end else "ok"


def partial(share: float, seed: int, begin: float = BEGIN, end: float = END) -> Callable[[float], Result]:
    """Return results of which ``share`` are bad during an outage, independent of each other."""
    return lambda time: (
        "bad" if begin <= time < end and Random(f"{seed} {time:.3f}").random() < share else "ok"  # noqa: S311
    )


def three(*failing: str, result: Callable[[float], Result] | None = None, **fields) -> list[Process]:
    """Return a process in each of three regions; those in ``failing`` have the results of ``result``, an outage."""
    bad = result or outage()
    return [
        Process(region=region, result=bad if region in failing else good, phase=5.0 + 7 * number, **fields)
        for number, region in enumerate(REGIONS)
    ]


def fired(
    folder: Path, alert: str, until: float = 5400, text: str = RULES, **cases: list[Process]
) -> dict[str, list[float]]:
    """Return the times at which ``alert`` fires, by case."""
    series = {
        name: [one for process in processes for one in process.series(until)] for name, processes in cases.items()
    }
    return firing_times(folder, text, alert, series)


def spans(times: list[float], longest_gap: float = 2 * SCRAPE) -> list[tuple[float, float]]:
    """Return the times without interruption as begin and end of each alert."""
    ends = [before for before, after in pairwise(times) if after - before > longest_gap]
    begins = [after for before, after in pairwise(times) if after - before > longest_gap]
    return list(zip([times[0], *begins], [*ends, times[-1]], strict=True)) if times else []


def quiet(names: Iterable[str]) -> dict[str, list[float]]:
    """Return that none of ``names`` fires at any time."""
    return {name: [] for name in names}


def at(time: float, alert: str, *expected: tuple[dict[str, str], dict[str, str]]) -> dict[str, object]:
    """Return the test that these alerts, labels and annotations, fire at ``time``."""
    alerts = [{"exp_labels": labels, "exp_annotations": annotations} for labels, annotations in expected]
    return {"eval_time": f"{time:g}s", "alertname": alert, "exp_alerts": alerts}


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
    [(begin, end)] = spans(fired(tmp_path, "ProviderDown", down=three("eu", "us"))["down"])
    assert (True, True) == (BEGIN + 60 < begin <= BEGIN + 200, END < end <= END + 300)


def test_an_outage_of_the_provider_is_no_ticket_about_a_region(tmp_path: Path) -> None:
    """Regions that notice it sooner, or recover more slowly, are not blamed; nor is anything missing."""
    slower = [
        Process(region="ap", result=outage()),
        Process(region="eu", result=outage(BEGIN + 120, END + 400)),
        Process(region="us", result=good),
    ]
    cases = {"two": three("eu", "us"), "all": three(*REGIONS), "slower": slower}
    found = {alert: fired(tmp_path, alert, **cases) for alert in ALERTS[1:]}
    assert {alert: {name: [] for name in cases} for alert in ALERTS[1:]} == found


def test_the_page_names_the_regions(tmp_path: Path) -> None:
    """It has the labels of the canary, without a region; its texts have the failing regions, and the healthy ones."""
    series = [one for process in three("eu", "us") for one in process.series(2700)]
    annotations = {
        "summary": "chat: openai fails in 2 of 3 vantage points (region: eu, us)",
        "description": "2 or more see it fail, so the provider is down, and not the path from one of them. Healthy: "
        "ap. The faults are in streamcanary_failures_total, and the runs in /api/v1/runs of a daemon.",
    }
    test = at(2400, "ProviderDown", ({**CANARY, "severity": "page"}, annotations))
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
        at(BEGIN + 240, "VantagePointFailing"),
        at(BEGIN + 1200, "VantagePointFailing", ({**CANARY, "region": "eu", "severity": "ticket"}, annotations)),
        at(END + 360, "VantagePointFailing"),
        *(at(time, "ProviderDown") for time in range(0, 4500, 60)),
    ]
    code, output = run_tests(tmp_path, RULES, [{"interval": "15s", "input_series": series, "alert_rule_test": tests}])
    assert 0 == code, output


def test_the_number_of_regions_is_an_option(tmp_path: Path) -> None:
    """With ``--at-least 3``, two of three are tickets, and all three a page; with 1, one is a page."""
    cases = {"one": three("eu"), "two": three("eu", "us"), "three": three(*REGIONS)}
    found = {
        number: {
            name
            for name, times in fired(tmp_path, "ProviderDown", text=rules(at_least=number), **cases).items()
            if times
        }
        for number in (1, 2, 3)
    }
    assert {1: {"one", "two", "three"}, 2: {"two", "three"}, 3: {"three"}} == found
    tickets = fired(tmp_path, "VantagePointFailing", text=rules(at_least=3), **cases)
    assert ({"one", "two"}, []) == ({name for name, times in tickets.items() if times}, tickets["three"])


def test_a_partial_outage_is_one_page(tmp_path: Path) -> None:
    """Two thirds of bad runs in two regions fire once, and hold, although the shares vary."""
    processes = [
        Process(region=region, result=partial(0.67, seed, end=9e9)) for seed, region in enumerate(REGIONS[:2])
    ] + [Process(region="us", result=good)]
    [(begin, end)] = spans(fired(tmp_path, "ProviderDown", 7200, partial=processes)["partial"])
    assert (True, 7200 - SCRAPE <= end) == (begin < BEGIN + 900, True)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_single_failures_are_no_outage(tmp_path: Path, seed: int) -> None:
    """Five percent of bad runs in every region neither page nor are a ticket in three hours."""
    noise = [
        Process(region=region, result=partial(0.05, seed * 10 + number, -1e9, 1e9))
        for number, region in enumerate(REGIONS)
    ]
    found = {alert: fired(tmp_path, alert, 10_800, noise=noise)["noise"] for alert in ALERTS[:2]}
    assert quiet(ALERTS[:2]) == found


def test_a_flapping_provider_is_one_page(tmp_path: Path) -> None:
    """A minute of good runs after each two minutes of bad ones ends no alert."""

    def flapping(time: float) -> Result:
        return "bad" if BEGIN <= time < END and (time - BEGIN) % 180 < 120 else "ok"

    times = fired(tmp_path, "ProviderDown", flapping=three(*REGIONS, result=flapping))["flapping"]
    assert 1 == len(spans(times))


def test_a_region_without_data_is_neither_healthy_nor_failing(tmp_path: Path) -> None:
    """If one of three is silent, two that fail page, and one that fails does not: it is a ticket."""
    silent = Process(region="ap", result=good, gone=600.0)
    cases = {
        "two": [silent, Process(region="eu", result=outage()), Process(region="us", result=outage())],
        "one": [silent, Process(region="eu", result=outage()), Process(region="us", result=good)],
    }
    pages, tickets = (fired(tmp_path, alert, **cases) for alert in ALERTS[:2])
    assert ([1, 0], [0, 1]) == (
        [len(spans(pages[name])) for name in cases],
        [len(spans(tickets[name])) for name in cases],
    )
    silences = fired(tmp_path, "VantagePointSilent", **cases)
    assert {True} == {600 + 300 + 300 <= times[0] <= 600 + 300 + 300 + 60 for times in silences.values()}


def test_failures_before_a_region_became_silent_do_not_page_later(tmp_path: Path) -> None:
    """A region whose daemon died while it failed is no witness of an outage that another one sees an hour later."""
    died = [
        Process(region="ap", result=outage(600, 9e9), gone=1500.0),
        Process(region="eu", result=outage(BEGIN + 600)),
        Process(region="us", result=good),
    ]
    assert {"died": []} == fired(tmp_path, "ProviderDown", died=died)


def test_no_data_resolves_no_page(tmp_path: Path) -> None:
    """If the daemon of a failing region dies in an outage, the page stays, and ends with good runs of the other."""
    dying = three("eu", "us")
    dying[1] = Process(region="eu", result=outage(), gone=BEGIN + 600)
    [(begin, end)] = spans(fired(tmp_path, "ProviderDown", dying=dying)["dying"])
    assert (True, True) == (begin <= BEGIN + 200, END < end <= END + 300)


def test_a_page_without_any_data_ends_after_an_hour(tmp_path: Path) -> None:
    """Nobody knows whether the outage is over; ``VantagePointsMissing`` has been firing for long."""
    gone = [Process(region=region, result=outage(end=9e9), gone=BEGIN + 600) for region in REGIONS]
    until = BEGIN + 600 + 3600 + 900
    [(_, end)] = spans(fired(tmp_path, "ProviderDown", until, gone=gone)["gone"])
    [(missing, _)] = spans(fired(tmp_path, "VantagePointsMissing", until, gone=gone)["gone"])
    assert (True, True) == (BEGIN + 4200 <= end <= BEGIN + 4440, missing <= BEGIN + 600 + 660)


def test_too_few_regions_with_data_are_a_page(tmp_path: Path) -> None:
    """Without two of three, or without all, the alert fires after ten minutes, and ends when they are back."""
    gap = ((BEGIN, END),)
    cases = {
        "one left": [
            Process(region=region, result=good, unscraped=gap if region != "us" else ()) for region in REGIONS
        ],
        "none left": [Process(region=region, result=good, unscraped=gap) for region in REGIONS],
        "two left": [
            Process(region=region, result=good, unscraped=gap if region == "us" else ()) for region in REGIONS
        ],
    }
    found = {name: spans(times) for name, times in fired(tmp_path, "VantagePointsMissing", **cases).items()}
    assert [] == found["two left"]
    for name in ("one left", "none left"):
        [(begin, end)] = found[name]
        assert (True, True) == (BEGIN + 585 <= begin <= BEGIN + 660, END - 30 <= end <= END + 30), name
    silent = fired(tmp_path, "VantagePointSilent", **cases)
    assert {"one left", "none left", "two left"} == {name for name, times in silent.items() if times}


def test_fewer_regions_than_there_should_be_are_a_ticket(tmp_path: Path) -> None:
    """With ``--of 4``, three that have metrics are a ticket after an hour, although a page needs only two."""
    tests = [
        at(3300, "VantagePointsMissing"),
        at(
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
    found = fired(tmp_path, "CanaryVantagePointsMissing", **cases)
    assert {"alone", "rejected", "stuck"} == {name for name, times in found.items() if times}
    assert {True} == {1800 <= times[0] <= 2400 for times in found.values() if times}


def test_a_canary_that_was_removed_from_all_regions_is_not_missing(tmp_path: Path) -> None:
    """A reload ends its series; the regions have others."""
    removed = [Process(region=region, canary="removed", result=good, gone=1200.0) for region in REGIONS]
    found = {alert: fired(tmp_path, alert, removed=[*three(), *removed])["removed"] for alert in ALERTS}
    assert quiet(ALERTS) == found


@pytest.mark.parametrize("word", ["rejected", "broken", None])
def test_what_no_provider_can_fix_is_no_outage(tmp_path: Path, word: Result) -> None:
    """A key that is rejected everywhere, daemons without CPU time, and runs that are skipped do not page."""
    processes = three(*REGIONS, result=outage(word=word))
    found = {alert: fired(tmp_path, alert, case=processes)["case"] for alert in ALERTS[:2]}
    assert quiet(ALERTS[:2]) == found


def test_slow_answers_are_good(tmp_path: Path) -> None:
    """An answer over the SLO of its canary is an answer."""
    assert {"slow": []} == fired(tmp_path, "ProviderDown", slow=three(*REGIONS, result=outage(word="slow")))


def replicas(region: str, result: Callable[[float], Result], moves: tuple[float, ...]) -> list[Process]:
    """Return two replicas of a region, between which a canary moves at each of ``moves``."""

    def owner(time: float) -> int:
        return sum(move <= time for move in moves) % 2

    return [
        Process(
            region=region,
            pod=f"canary-{number}",
            result=result,
            owns=lambda time, number=number: owner(time) == number,  # type: ignore[misc]
        )
        for number in (0, 1)
    ]


MOVES = tuple(float(move) for move in range(400, 5400, 330))


def test_a_canary_that_moves_between_replicas_is_one_canary(tmp_path: Path) -> None:
    """The series of both replicas count together: the page is one, and there is no ticket and no false page."""
    cases = {
        "outage": [process for region in REGIONS[:2] for process in replicas(region, outage(), MOVES)]
        + [Process(region="us", result=good)],
        "good": [process for region in REGIONS for process in replicas(region, good, MOVES)],
    }
    found = {alert: fired(tmp_path, alert, **cases) for alert in ALERTS}
    [(begin, end)] = spans(found["ProviderDown"].pop("outage"))
    assert (True, True) == (begin <= BEGIN + 220, END < end <= END + 300)
    assert {} == {alert: times for alert, by_case in found.items() for times in by_case.values() if times}


def test_restarts_do_not_change_the_page(tmp_path: Path) -> None:
    """Counters that begin again, without metrics for a minute, before, in and after the outage."""
    restarts = tuple(float(time) for time in range(900, 5400, 400))
    gaps = tuple((time - 60, time) for time in restarts)
    processes = [
        Process(region=region, result=outage() if region != "us" else good, restarts=restarts, unscraped=gaps)
        for region in REGIONS
    ]
    found = {alert: fired(tmp_path, alert, restarts=processes)["restarts"] for alert in ALERTS}
    [(begin, end)] = spans(found.pop("ProviderDown"))
    assert (True, True) == (begin <= BEGIN + 260, END < end <= END + 300)
    assert quiet(ALERTS[1:]) == found


def test_a_rolling_update_does_not_change_the_page(tmp_path: Path) -> None:
    """Another pod takes over in each region during the outage; it begins its counters at its first run."""
    processes = [
        process
        for region in REGIONS
        for process in (
            Process(region=region, result=outage(), pod="canary-a", gone=BEGIN + 600),
            Process(region=region, result=outage(), pod="canary-b", born=BEGIN + 630),
        )
    ]
    found = {alert: fired(tmp_path, alert, update=processes)["update"] for alert in ALERTS}
    assert [1, 0, 0, 0, 0] == [len(spans(found[alert])) for alert in ALERTS]


def test_regions_with_other_intervals_have_windows_of_their_own(tmp_path: Path) -> None:
    """Every 30 s in one, every 5 min in another: the page waits for three bad runs of the slower one."""
    text = rules(intervals=(30.0, 300.0))
    processes = [
        Process(region="eu", result=outage()),
        Process(region="us", result=outage(), every=300.0),
        Process(region="ap", result=good, every=60.0),
    ]
    [(begin, end)] = spans(fired(tmp_path, "ProviderDown", 7200, text, mixed=processes)["mixed"])
    assert (True, True) == (BEGIN + 600 <= begin <= BEGIN + 1200, END < end <= END + 1500)
    others = {alert: fired(tmp_path, alert, 7200, text, mixed=processes)["mixed"] for alert in ALERTS[3:]}
    assert quiet(ALERTS[3:]) == others


def test_the_members_of_a_fleet_in_a_region_are_one_vantage_point(tmp_path: Path) -> None:
    """Twenty sidecars in each region, of which each runs every ten minutes, detect an outage as one daemon would."""
    processes = [
        Process(
            region=region,
            pod=f"pod-{number}",
            result=outage() if region != "us" else good,
            every=600.0,
            phase=30.0 * number,
            replicas=1,
        )
        for region in REGIONS
        for number in range(20)
    ]
    [(begin, end)] = spans(fired(tmp_path, "ProviderDown", 4500, fleet=processes)["fleet"])
    assert (True, True) == (BEGIN + 60 <= begin <= BEGIN + 240, END < end <= END + 300)


def test_late_scrapes_and_failed_ones_do_not_interrupt_a_page(tmp_path: Path) -> None:
    """Two minutes without a scrape of both failing regions, in the outage, leave one page."""
    gap = ((BEGIN + 900, BEGIN + 1020),)
    processes = [
        Process(region=region, result=outage() if region != "us" else good, unscraped=gap) for region in REGIONS
    ]
    assert 1 == len(spans(fired(tmp_path, "ProviderDown", late=processes)["late"]))


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


def test_labels_that_prometheus_adds_are_vantage_points_as_well(tmp_path: Path) -> None:
    """The label may have another name, and ``job`` and ``namespace`` may differ between regions."""
    text = rules(label="cloud_region", ignoring=("job", "namespace"))
    series = [one for process in three("eu", "us") for one in process.series(2700)]
    apart = [
        {
            **one,
            "series": one["series"]
            .replace(', region="', ', cloud_region="')
            .replace("monitoring", f"llm-{one['series'].partition('region=')[2][1:3]}"),
        }
        for one in series
    ]
    times = firing_times(tmp_path, text, "ProviderDown", {"apart": apart})["apart"]
    assert 1 == len(spans(times))
    missing = firing_times(tmp_path, rules(label="cloud_region"), "VantagePointsMissing", {"apart": apart})["apart"]
    assert 300 <= missing[0] <= 360


def test_other_canaries_and_daemons_without_a_region_do_not_count(tmp_path: Path) -> None:
    """Failures of another canary, or of a daemon without the label, are no second vantage point."""
    cases = {
        "canary": [*three("eu"), *three("us", canary="other")],
        "unlabelled": [*three("eu"), Process(region="", result=outage())],
    }
    assert quiet(cases) == fired(tmp_path, "ProviderDown", **cases)


def test_matchers_select_the_series(tmp_path: Path) -> None:
    """A region that the matchers exclude is no vantage point."""
    text = rules(match=(Matcher.parse('region!="us"'),))
    assert {"excluded": []} == fired(tmp_path, "ProviderDown", text=text, excluded=three("eu", "us"))
