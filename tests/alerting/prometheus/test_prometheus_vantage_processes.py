"""The rules about vantage points in promtool: replicas, restarts, intervals and labels of the processes in a region."""

from collections.abc import Callable
from pathlib import Path

import pytest

from support.alerting.vantage_points import (
    BEGIN,
    END,
    REGIONS,
    Process,
    Result,
    alerts_by_name,
    firing,
    good,
    outage,
    rules,
    spans,
    three,
)
from support.programs.promtool import firing_times

pytestmark = pytest.mark.real("promtool")


def replicas(region: str, result: Callable[[float], Result], moves: tuple[float, ...]) -> list[Process]:
    """Return three replicas of a region, among which a canary moves at each of ``moves``."""

    def owner(time: float) -> int:
        return sum(move <= time for move in moves) % 3

    return [
        Process(
            region=region,
            pod=f"canary-{number}",
            result=result,
            owns=lambda time, number=number: owner(time) == number,  # type: ignore[misc]
        )
        for number in (0, 1, 2)
    ]


MOVES = tuple(float(move) for move in range(400, 5400, 330))


def test_a_canary_that_moves_between_replicas_is_one_canary(tmp_path: Path) -> None:
    """The series of all replicas count together: the page is one, and there is no ticket and no false page."""
    cases = {
        "outage": [
            *(process for region in REGIONS[:2] for process in replicas(region, outage(), MOVES)),
            Process(region="us", result=good),
        ],
        "good": [process for region in REGIONS for process in replicas(region, good, MOVES)],
    }
    found = alerts_by_name(tmp_path, text=rules(intervals=(30.0, 300.0)), **cases)
    [(begin, end)] = found["ProviderDown"]["outage"]
    assert (True, True) == (begin <= BEGIN + 220, END < end <= END + 300)
    assert {("ProviderDown", "outage")} == firing(found)


def test_restarts_do_not_change_the_page(tmp_path: Path) -> None:
    """Counters that begin again, without metrics for a minute, before, in and after the outage."""
    restarts = tuple(float(time) for time in range(900, 5400, 400))
    gaps = tuple((time - 60, time) for time in restarts)
    found = alerts_by_name(tmp_path, restarts=three("ap", "eu", restarts=restarts, unscraped=gaps))
    [(begin, end)] = found["ProviderDown"]["restarts"]
    assert (True, True) == (begin <= BEGIN + 260, END < end <= END + 300)
    assert {("ProviderDown", "restarts")} == firing(found)


def test_failures_before_a_long_gap_are_not_counted_again(tmp_path: Path) -> None:
    """Two regions whose metrics were missing for ten minutes come back with counters of earlier failures.

    The daemons of all regions have the same ``instance`` and ``pod``, as those of one manifest have.
    """
    earlier, gap = outage(0, 600), ((900.0, 1500.0),)
    processes = [
        Process(region="ap", result=earlier, unscraped=gap),
        Process(region="eu", result=earlier, unscraped=gap),
        Process(region="us", result=good),
    ]
    found = alerts_by_name(tmp_path, 2700, gap=processes)
    assert [] == [begin for begin, _ in found["ProviderDown"]["gap"] if begin > 900]


def test_a_rolling_update_does_not_change_the_page(tmp_path: Path) -> None:
    """Another pod takes over in each region during the outage; it begins its counters at its first run."""
    processes = [
        *three(*REGIONS, pod="canary-a", gone=BEGIN + 600),
        *three(*REGIONS, pod="canary-b", born=BEGIN + 630),
    ]
    found = alerts_by_name(tmp_path, update=processes)
    assert (1, {("ProviderDown", "update")}) == (len(found["ProviderDown"]["update"]), firing(found))


def test_regions_with_other_intervals_have_windows_of_their_own(tmp_path: Path) -> None:
    """Every 30 s in one, every 5 min in another: the page waits for three bad runs of the slower one."""
    processes = [
        Process(region="eu", result=outage()),
        Process(region="us", result=outage(), every=300.0),
        Process(region="ap", result=good, every=60.0),
    ]
    found = alerts_by_name(tmp_path, 7200, rules(intervals=(30.0, 300.0)), mixed=processes)
    [(begin, end)] = found["ProviderDown"]["mixed"]
    assert (True, True) == (BEGIN + 600 <= begin <= BEGIN + 1000, END < end <= END + 1500)
    assert firing(found) <= {("ProviderDown", "mixed"), ("VantagePointFailing", "mixed")}


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
    [(begin, end)] = alerts_by_name(tmp_path, 4500, rules(intervals=(30.0, 600.0)), fleet=processes)["ProviderDown"][
        "fleet"
    ]
    assert (True, True) == (BEGIN + 60 <= begin <= BEGIN + 240, END < end <= END + 300)


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
