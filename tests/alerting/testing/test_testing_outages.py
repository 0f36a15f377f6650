"""Past outages of a backtest: which alerts are about the same one, and how soon each rule detected it."""

from msgspec import structs

from streamcanary.alerting.testing.backtest import BacktestReport, run_backtest
from streamcanary.alerting.testing.outages import OutageAlert, PastOutage, past_outages
from streamcanary.alerting.testing.series_notation import parse_values
from streamcanary.model.outcome import Outcome
from streamcanary.model.status.alert_history import PastIncident, past_incident_id
from support.alerting.builders import CHAT, NOON, alerts

FOUR = [structs.replace(CHAT, name=f"c{number}") for number in range(4)]
RULES = {
    "Three": {"detector": {"type": "consecutive", "failures": 3}},
    "Nine": {"detector": {"type": "consecutive", "failures": 9}},
    "Spike": {"detector": {"type": "spike"}, "per": ["canary", "target"]},
}


def recorded(*series: str) -> list[Outcome]:
    """Return the outcomes of a series for each of four canaries, which run every 30 s, 7 s after each other."""
    found = [
        word.to_outcome(FOUR[which], number, NOON + 30 * number + 7 * which)
        for which, values in enumerate(series)
        for number, word in enumerate(parse_values(values))
        if word is not None
    ]
    return sorted(found, key=lambda run: run.started + run.duration)


def past(
    rule: str, subject: str, opened: float, resolved: float | None, *, since: float, canaries: tuple[str, ...]
) -> PastIncident:
    """Return an alert in the history of the daemon."""
    return PastIncident(
        id=past_incident_id("k", opened),
        key="k",
        rule=rule,
        subject=subject,
        opened=opened,
        since=since,
        resolved=resolved,
        canaries=canaries,
    )


def backtested(*series: str) -> BacktestReport:
    """Run a backtest of four canaries."""
    return run_backtest(alerts(rules=RULES), "default", FOUR, recorded(*series))


def alert(rule: str, began: float, end: float, *canaries: str, target: str = "t") -> OutageAlert:
    """Return an alert that fires 60 s after its first failure."""
    names = frozenset(canaries)
    return OutageAlert(
        rule=rule,
        canaries=names,
        targets=frozenset({target}),
        failing=tuple(canaries),
        began=began,
        fired=began + 60,
        end=end,
    )


def test_an_outage_has_the_delay_of_each_rule() -> None:
    """From the first failure of all canaries: pooled evidence is first, then three in a row; nine are too many."""
    [outage] = backtested(*["ok x20 stalled x5 ok x60"] * 4).outages
    assert (NOON + 600, ("c0", "c1", "c2", "c3"), 4) == (outage.began, outage.canaries, outage.canary_count)
    assert ("Spike", 60.0, None) == (outage.first, outage.delays["Three"], outage.delays["Nine"])
    assert 37.0 == outage.delays["Spike"]


def test_an_outage_of_one_canary_is_seen_by_the_rules_of_that_canary() -> None:
    """The outage names the canary that failed."""
    [outage] = backtested("ok x20 stalled x12 ok x60", *["ok x92"] * 3).outages
    assert (("c0",), "Three", 60.0, 240.0) == (
        outage.canaries,
        outage.first,
        outage.delays["Three"],
        outage.delays["Nine"],
    )


def test_outages_apart_in_time_are_two() -> None:
    """Failures that begin again after all alerts have resolved, and five minutes more, are another outage."""
    report = backtested(*["ok x20 stalled x5 ok x90 stalled x5 ok x5"] * 4)
    assert [NOON + 600, NOON + 600 + 95 * 30] == [outage.began for outage in report.outages]


def test_nothing_that_fired_is_no_outage() -> None:
    """Without an alert there is no outage, and none in the report as plain data."""
    report = backtested(*["ok x20"] * 4)
    assert ([], []) == (report.outages, report.to_dict()["outages"])


def test_alerts_of_one_target_at_the_same_time_are_one_outage() -> None:
    """Overlapping alerts of a target are one outage, also a little later; those of another target are another."""
    found = past_outages(
        [
            alert("A", 0, 100, "c0"),
            alert("B", 50, 200, "c1"),
            alert("A", 400, 500, "c0"),
            alert("A", 60, 90, "d0", target="other"),
            alert("A", 900, 950, "c0"),
        ],
        {"A": frozenset({"c0", "d0"}), "B": frozenset({"c1"}), "Other": frozenset({"x"})},
    )
    assert [(0, 500, ("c0", "c1")), (60, 90, ("d0",)), (900, 950, ("c0",))] == [
        (outage.began, outage.end, outage.canaries) for outage in found
    ]
    assert [{"A": 60.0, "B": 110.0}, {"A": 60.0}, {"A": 60.0}] == [outage.delays for outage in found]


def test_an_alert_of_several_targets_joins_their_outages() -> None:
    """An alert about all canaries shows that the alerts about two targets are one outage."""
    wide = structs.replace(alert("All", 20, 90, "c0", "d0"), targets=frozenset({"t", "other"}))
    apart = [alert("A", 0, 100, "c0"), alert("A", 10, 80, "d0", target="other")]
    watching = {"A": frozenset({"c0", "d0"}), "All": frozenset({"c0", "d0"})}
    assert [2, 1] == [len(past_outages(some, watching)) for some in (apart, [*apart, wide])]


def test_an_alert_of_the_daemon_is_an_outage_too() -> None:
    """What the daemon detected, with the rules of that time, is an outage, also if no rule detects it any more."""
    runs = recorded("ok x20 stalled x2 ok x60", *["ok x82"] * 3)
    known = past("Former", "c0", NOON + 630, NOON + 700, since=NOON + 630, canaries=("c0",))
    others = [
        structs.replace(known, canaries=("gone",), subject="gone"),
        structs.replace(known, opened=NOON - 9999),
        structs.replace(known, canaries=(), subject="store", rule="StoreFailing"),
    ]
    config = alerts(rules={"Three": RULES["Three"]})
    [outage] = run_backtest(config, "default", FOUR, runs, recorded=[known, *others]).outages
    assert (NOON + 630, ("c0",), 0.0, None, None) == (
        outage.began,
        outage.canaries,
        outage.recorded,
        outage.first,
        outage.delays["Three"],
    )


def test_each_time_that_a_rule_fired_in_the_daemon_has_a_delay() -> None:
    """A rule that fired twice for one canary has the delay of each time."""
    runs = recorded("ok x20 stalled x5 ok x60 stalled x5 ok x60", *["ok x150"] * 3)
    twice = [past("Three", "c0", at + 90, at + 200, since=at, canaries=("c0",)) for at in (NOON + 600, NOON + 2550)]
    config = alerts(rules={"Three": RULES["Three"]})
    found = run_backtest(config, "default", FOUR, runs, recorded=twice).outages
    assert [(NOON + 600, 90.0, 60.0), (NOON + 2550, 90.0, 60.0)] == [
        (outage.began, outage.recorded, outage.delays["Three"]) for outage in found
    ]


def test_the_delay_of_the_daemon_is_beside_that_of_the_rules() -> None:
    """An alert that the daemon opened, and that a rule opens in the backtest, is one outage."""
    runs = recorded(*["ok x20 stalled x5 ok x60"] * 4)
    wide = past("Former", "target t", NOON + 690, None, since=NOON + 607, canaries=("c1", "gone"))
    [outage] = run_backtest(alerts(rules=RULES), "default", FOUR, runs, recorded=[wide]).outages
    assert (90.0, 60.0, "Spike") == (outage.recorded, outage.delays["Three"], outage.first)
    assert ("c0", "c1", "c2", "c3") == outage.canaries


def test_an_outage_is_plain_data_with_times_as_text() -> None:
    """The plain form has the times in RFC 3339, the delays in seconds, and the first rule."""
    outage = PastOutage(began=NOON, end=NOON + 90, canaries=("c0",), canary_count=1, delays={"A": 60.0, "B": None})
    assert {
        "began": "2027-01-15T08:00:00.000Z",
        "until": "2027-01-15T08:01:30.000Z",
        "canaries": ["c0"],
        "canary_count": 1,
        "delays": {"A": 60.0, "B": None},
        "first": "A",
        "recorded": None,
    } == outage.to_dict()
