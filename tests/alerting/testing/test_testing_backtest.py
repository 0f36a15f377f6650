"""Backtests of recorded runs: alerts, totals of rules and receivers, gaps and limits."""

import msgspec
from msgspec import structs

from streamcanary.alerting.testing import backtest as module
from streamcanary.alerting.testing.backtest import BacktestReport, run_backtest
from streamcanary.alerting.testing.series_notation import parse_values
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome
from support.alerting.builders import CHAT, NOON, THREE_FAILURES_RULE, EngineHarness, a_run, alerts, webhook_config
from support.alerting.histories import DAY, answer_times

OTHER = structs.replace(CHAT, name="other")


def recorded(values: str, canary: Canary = CHAT, start: float = NOON) -> list[Outcome]:
    """Return the outcomes of ``values``, one each 30 s."""
    words = parse_values(values)
    return [
        word.to_outcome(canary, number, start + 30 * number) for number, word in enumerate(words) if word is not None
    ]


def together(*rows: list[Outcome]) -> list[Outcome]:
    """Merge the runs of several canaries in the order in which they ended."""
    return sorted((run for row in rows for run in row), key=lambda run: run.started + run.duration)


def backtested(outcomes: list[Outcome], *canaries: Canary, **sections) -> BacktestReport:
    """Run a backtest, by default with a ``consecutive`` rule of three and one webhook receiver."""
    return run_backtest(alerts(**sections), "default", canaries or (CHAT,), outcomes)


def test_an_alert_has_its_times_and_counts() -> None:
    """An alert has the times of firing and resolve, its duration, and the bad and total samples."""
    report = backtested(recorded("ok x10 stalled x5 ok x5"))
    [alert] = report.alerts
    assert ("Errors", "chat", NOON + 360, NOON + 510, 150.0) == (
        alert.alert,
        alert.subject,
        alert.fired,
        alert.resolved,
        alert.seconds,
    )
    assert (5, 8, {"stalled": 5}) == (alert.bad, alert.total, alert.faults)
    assert (20, NOON, NOON + 570) == (report.runs, report.start, report.end)


def test_alerts_equal_those_of_the_daemon() -> None:
    """The same runs open and resolve the same incidents at the same times as in the engine of the daemon."""
    runs = recorded("ok x5 stalled x4 ok x3 rate_limited x9 ok x2 stalled ok x8 stalled x3")
    engine = EngineHarness()
    seen: dict[tuple[str, float], float | None] = {}
    for run in runs:
        engine.observe(run)
        seen |= {(one.rule, one.opened): one.resolved for one in engine.state.incidents.values()}
    assert seen == {(alert.alert, alert.fired): alert.resolved for alert in backtested(runs).alerts}
    assert 3 == len(seen)


def test_an_alert_firing_at_the_end_is_not_resolved() -> None:
    """An alert that fires at the end of the recording has no resolve time and lasts to the last run."""
    [alert] = backtested(recorded("ok stalled x5")).alerts
    assert (None, 60.0) == (alert.resolved, alert.seconds)


def test_a_rule_has_totals() -> None:
    """Every enabled rule has totals, with zeros if it never fired."""
    report = backtested(recorded("ok stalled x3 ok x10 stalled x4 ok x10"))
    assert (2, 90.0 + 120.0, 2) == structs.astuple(report.rules["Errors"])
    assert (0, 0.0, 0) == structs.astuple(report.rules["CanaryEgressDown"])
    assert {"NoData", "ReceiverFailing", "StoreFailing"}.isdisjoint(report.rules)


def test_a_receiver_gets_the_notifications_of_its_route() -> None:
    """Triggers and resolves are counted for each receiver."""
    report = backtested(
        recorded("ok stalled x3 ok x10 stalled x3 ok x3"),
        receivers={"hook": webhook_config(), "quiet": webhook_config()},
        routes=[{"match": ['alertname="Errors"'], "receivers": ["hook"]}, {"receivers": ["quiet"]}],
    )
    assert (2, 0, 2) == structs.astuple(report.receivers["hook"])
    assert (0, 0, 0) == structs.astuple(report.receivers["quiet"])


def test_alerts_of_a_group_are_one_notification() -> None:
    """Alerts within ``group_wait`` are one trigger, and a later alert is an update."""
    together_ = together(recorded("ok x3 stalled x20"), recorded("ok x3 stalled x20", OTHER, NOON + 2))
    report = backtested(together_, CHAT, OTHER, group_by=["alert"], group_wait="10s", group_interval="1m")
    assert (1, 0, 0) == structs.astuple(report.receivers["hook"])
    late = together(recorded("ok x3 stalled x20"), recorded("ok x9 stalled x20", OTHER, NOON + 2))
    report = backtested(late, CHAT, OTHER, group_by=["alert"], group_wait="10s", group_interval="1m")
    assert (1, 1, 0) == structs.astuple(report.receivers["hook"])


def test_a_long_alert_is_repeated() -> None:
    """A firing alert is sent again each ``repeat_interval`` of recorded time."""
    report = backtested(recorded("ok stalled x60"), repeat_interval="10m")
    assert (1, 2, 0) == structs.astuple(report.receivers["hook"])


def test_a_notification_pending_at_the_end_is_counted() -> None:
    """A trigger that waits for ``group_wait`` at the end of the recording is counted."""
    report = backtested(recorded("ok stalled x3"), group_wait="1m")
    assert (1, 0, 0) == structs.astuple(report.receivers["hook"])


def test_alertmanager_gets_each_alert() -> None:
    """For a state receiver, each alert counts as one trigger and one resolve."""
    receivers = {"prom": {"type": "alertmanager", "urls": ["http://127.0.0.1:9"]}}
    rules = {
        "Errors": THREE_FAILURES_RULE,
        "Two": {**THREE_FAILURES_RULE, "detector": {"type": "consecutive", "failures": 2}},
    }
    report = backtested(recorded("ok stalled x3 ok x5 stalled x2 ok x3"), receivers=receivers, rules=rules)
    assert (3, 0, 3) == structs.astuple(report.receivers["prom"])
    assert (1, 2) == (report.rules["Errors"].pages, report.rules["Two"].pages)


def test_missing_runs_of_one_canary_fire_no_data() -> None:
    """``NoData`` fires for one canary if the runs of another show that the daemon was running."""
    runs = together(recorded("ok x40"), recorded("ok x10 _x10 ok x20", OTHER, NOON + 3))
    report = backtested(runs, CHAT, OTHER, rules={"NoData": {"enabled": True}})
    [alert] = report.alerts
    last = NOON + 3 + 270
    assert ("NoData", "other", NOON + 603) == (alert.alert, alert.subject, alert.resolved)
    assert 0 <= alert.fired - (last + 90 + CHAT.timeout + 5) <= 5


def test_a_time_without_any_run_is_a_gap() -> None:
    """The report lists a gap, no run counts as missing in it, and open alerts stay open."""
    runs = together(recorded("ok x10 stalled x4 _x200 stalled ok x5"), recorded("ok x14 _x200 ok x6", OTHER, NOON + 3))
    report = backtested(runs, CHAT, OTHER, rules={"NoData": {"enabled": True}, "Errors": THREE_FAILURES_RULE})
    assert [(NOON + 393, NOON + 6420)] == report.gaps
    assert [("Errors", "chat", NOON + 6510)] == [(one.alert, one.subject, one.resolved) for one in report.alerts]


def test_an_egress_failure_inhibits_alerts_of_canaries() -> None:
    """Two unreachable hosts cause one notification, not one for each canary."""
    far = structs.replace(OTHER, host="b.example")
    near = structs.replace(CHAT, host="a.example")
    runs = together(recorded("ok x5 dns_failed x20", near), recorded("ok x5 connect_failed x20", far, NOON + 1))
    report = backtested(runs, near, far)
    assert (1, 0, 0) == structs.astuple(report.receivers["hook"])
    assert (1, 2) == (report.rules["CanaryEgressDown"].fires, report.rules["Errors"].fires)


def test_measures_of_recorded_runs_are_replayed() -> None:
    """Headroom, output speed and model are in the recorded runs, so that their rules can be tried on them."""
    rules = {
        "Scarce": {"measure": "ratelimit_headroom", "limit": "10%", "detector": {"type": "consecutive", "failures": 2}},
        "Sluggish": {"measure": "tokens_per_second", "limit": 20, "detector": {"type": "consecutive", "failures": 2}},
        "ModelChanged": {"enabled": True},
    }
    runs = recorded(
        "ok(ratelimit_headroom=50%, tokens_per_second=60) x5 ok(ratelimit_headroom=5%, tokens_per_second=60) x3 "
        "ok(ratelimit_headroom=50%, tokens_per_second=10) x3 ok(model=b) x12"
    )
    stored = [msgspec.json.decode(msgspec.json.encode(run), type=Outcome) for run in runs]
    report = backtested(stored, rules=rules)
    assert [
        ("Scarce", 6, "ratelimit_headroom 5% (50 of 1000 requests left), limit 10%", 9),
        ("Sluggish", 9, "tokens_per_second 10 tokens/s, limit 20 tokens/s", None),
        ("ModelChanged", 11, "b answers, and model answered the run before", 21),
    ] == [
        (
            alert.alert,
            (alert.fired - NOON) / 30,
            alert.message,
            None if alert.resolved is None else (alert.resolved - NOON) / 30,
        )
        for alert in report.alerts
    ]


def test_runs_of_unknown_canaries_are_only_counted() -> None:
    """Runs of canaries that the configuration does not have are counted and not replayed."""
    report = backtested(together(recorded("stalled x5"), recorded("stalled x7", OTHER)))
    assert (5, 7, 1) == (report.runs, report.unknown_canary_runs, len(report.alerts))


def test_a_clock_set_back_keeps_the_order_of_runs() -> None:
    """Runs are replayed in the given order, although the times go back."""
    runs = [*recorded("ok x5 stalled x2"), *recorded("stalled x2 ok x5", start=NOON - 3600)]
    report = backtested(runs)
    assert [(NOON - 3600, 4)] == [(alert.fired, alert.bad) for alert in report.alerts]


def test_no_runs_give_an_empty_report() -> None:
    """A backtest without runs reports no runs and no alerts."""
    report = backtested([])
    assert (None, None, 0, []) == (report.start, report.end, report.runs, report.alerts)


def test_a_run_in_the_far_future_is_replayed_quickly(monkeypatch) -> None:
    """A clock that jumps by decades and back does not cause a tick for each interval between."""
    runs = [*recorded("ok x5"), a_run(1, started=4_000_000_000.0, run_id="far"), *recorded("stalled x3")]
    assert 1 == len(backtested(runs).alerts)


def test_alerts_are_listed_up_to_a_limit(monkeypatch) -> None:
    """Alerts over the limit are counted, and they are in the totals."""
    monkeypatch.setattr(module, "MAX_ALERTS", 2)
    report = backtested(recorded("stalled x3 ok x3 " * 5))
    assert (2, 3, 5) == (len(report.alerts), report.omitted_alerts, report.rules["Errors"].fires)


def test_runs_before_since_feed_detectors_and_are_not_reported() -> None:
    """An alert that fired before ``since`` is reported, with only its seconds after ``since``."""
    runs = recorded("ok x4 stalled x6 ok x4 stalled x3 ok x3")
    full_report = backtested(runs)
    report = run_backtest(alerts(), "default", (CHAT,), runs, NOON + 240)
    assert [(alert.fired, alert.resolved) for alert in full_report.alerts] == [
        (alert.fired, alert.resolved) for alert in report.alerts
    ]
    assert [360.0 - 240.0, 90.0] == [alert.seconds for alert in report.alerts]
    assert (1, 1, 2) == (
        report.rules["Errors"].fires,
        report.receivers["hook"].pages,
        report.receivers["hook"].resolves,
    )
    assert (12, NOON + 240) == (report.runs, report.start)


def test_no_run_after_since_gives_an_empty_report() -> None:
    """The report has neither runs nor alerts if no run started after ``since``."""
    report = run_backtest(alerts(), "default", (CHAT,), recorded("ok x4 stalled x6 ok x4"), NOON + 9000)
    assert (0, None, []) == (report.runs, report.start, report.alerts)


def test_rules_learn_during_the_backtest() -> None:
    """A rule that learns evaluates from the second day on, with what the runs until then have taught it."""
    slower = {"Slower": {"measure": "first_token", "detector": {"type": "shift"}}}
    times = [*answer_times(1.5, every=60.0)]
    usual = [a_run(number, started=NOON + at, time_to_first_token=value) for number, (at, value) in enumerate(times)]
    since = NOON + 1.5 * DAY
    slow = [a_run(5000 + number, started=since + 60 * number, time_to_first_token=1.5) for number in range(10)]
    first_day = [structs.replace(run, time_to_first_token=9.0) for run in usual[:30]]
    [alert] = backtested([*first_day, *usual[30:], *slow], rules=slower).alerts
    assert ("Slower", None) == (alert.alert, alert.resolved)
    assert since < alert.fired < since + 600
