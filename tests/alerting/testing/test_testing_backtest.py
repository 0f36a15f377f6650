"""A backtest does with recorded runs what the daemon would have done, in their time."""

from msgspec import structs

from streamcanary.alerting.testing import backtest as module
from streamcanary.alerting.testing.backtest import BacktestReport, run_backtest
from streamcanary.alerting.testing.series_notation import parse_values
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome
from support.alerting.builders import CHAT, NOON, THREE_FAILURES_RULE, EngineHarness, a_run, alerts, webhook_config

OTHER = structs.replace(CHAT, name="other")


def recorded(values: str, canary: Canary = CHAT, start: float = NOON) -> list[Outcome]:
    """Write down runs, one each 30 s."""
    words = parse_values(values)
    return [
        word.to_outcome(canary, number, start + 30 * number) for number, word in enumerate(words) if word is not None
    ]


def together(*rows: list[Outcome]) -> list[Outcome]:
    """Put the runs of several canaries in the order in which they ended."""
    return sorted((run for row in rows for run in row), key=lambda run: run.started + run.duration)


def backtested(outcomes: list[Outcome], *canaries: Canary, **sections) -> BacktestReport:
    """Backtest, by default with three in a row and one webhook."""
    return run_backtest(alerts(**sections), "default", canaries or (CHAT,), outcomes)


def test_an_alert_is_told_with_its_time_and_its_count() -> None:
    """When it fired, for how long, and k of n."""
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


def test_it_fires_when_the_daemon_does() -> None:
    """The same engine over the same runs: the same incidents, opened and resolved at the same time."""
    runs = recorded("ok x5 stalled x4 ok x3 rate_limited x9 ok x2 stalled ok x8 stalled x3")
    world = EngineHarness()
    seen: dict[tuple[str, float], float | None] = {}
    for run in runs:
        world.observe(run)
        seen |= {(one.rule, one.opened): one.resolved for one in world.state.incidents.values()}
    assert seen == {(alert.alert, alert.fired): alert.resolved for alert in backtested(runs).alerts}
    assert 3 == len(seen)


def test_what_fires_at_the_end_of_the_recording_is_not_over() -> None:
    """It has fired up to the last run."""
    [alert] = backtested(recorded("ok stalled x5")).alerts
    assert (None, 60.0) == (alert.resolved, alert.seconds)


def test_a_rule_is_summed_up() -> None:
    """Every rule that watches something is there, those that never fired with zeros."""
    report = backtested(recorded("ok stalled x3 ok x10 stalled x4 ok x10"))
    assert (2, 90.0 + 120.0, 2) == structs.astuple(report.rules["Errors"])
    assert (0, 0.0, 0) == structs.astuple(report.rules["CanaryEgressDown"])
    assert {"NoData", "ReceiverFailing", "StoreFailing"}.isdisjoint(report.rules)


def test_a_receiver_gets_the_pages_of_its_route() -> None:
    """Pages and resolves, counted for each receiver."""
    report = backtested(
        recorded("ok stalled x3 ok x10 stalled x3 ok x3"),
        receivers={"hook": webhook_config(), "quiet": webhook_config()},
        routes=[{"match": ['alertname="Errors"'], "receivers": ["hook"]}, {"receivers": ["quiet"]}],
    )
    assert (2, 0, 2) == structs.astuple(report.receivers["hook"])
    assert (0, 0, 0) == structs.astuple(report.receivers["quiet"])


def test_alerts_of_a_group_are_one_page() -> None:
    """What fails within ``group_wait`` is told together; what joins later is an update."""
    together_ = together(recorded("ok x3 stalled x20"), recorded("ok x3 stalled x20", OTHER, NOON + 2))
    report = backtested(together_, CHAT, OTHER, group_by=["alert"], group_wait="10s", group_interval="1m")
    assert (1, 0, 0) == structs.astuple(report.receivers["hook"])
    late = together(recorded("ok x3 stalled x20"), recorded("ok x9 stalled x20", OTHER, NOON + 2))
    report = backtested(late, CHAT, OTHER, group_by=["alert"], group_wait="10s", group_interval="1m")
    assert (1, 1, 0) == structs.astuple(report.receivers["hook"])


def test_a_long_alert_is_repeated() -> None:
    """Each ``repeat_interval``, by the time of the recording."""
    report = backtested(recorded("ok stalled x60"), repeat_interval="10m")
    assert (1, 2, 0) == structs.astuple(report.receivers["hook"])


def test_a_page_that_waits_at_the_end_is_counted() -> None:
    """The recording ends within ``group_wait``; the daemon would not have."""
    report = backtested(recorded("ok stalled x3"), group_wait="1m")
    assert (1, 0, 0) == structs.astuple(report.receivers["hook"])


def test_alertmanager_is_told_of_each_alert() -> None:
    """It groups by itself: each alert that fires, and each that ends, is counted."""
    level = {"prom": {"type": "alertmanager", "urls": ["http://127.0.0.1:9"]}}
    rules = {
        "Errors": THREE_FAILURES_RULE,
        "Two": {**THREE_FAILURES_RULE, "detector": {"type": "consecutive", "failures": 2}},
    }
    report = backtested(recorded("ok stalled x3 ok x5 stalled x2 ok x3"), receivers=level, rules=rules)
    assert (3, 0, 3) == structs.astuple(report.receivers["prom"])
    assert (1, 2) == (report.rules["Errors"].pages, report.rules["Two"].pages)


def test_a_canary_that_fell_silent_beside_others_is_told() -> None:
    """The others show that the daemon was there."""
    runs = together(recorded("ok x40"), recorded("ok x10 _x10 ok x20", OTHER, NOON + 3))
    report = backtested(runs, CHAT, OTHER, rules={"NoData": {"enabled": True}})
    [alert] = report.alerts
    last = NOON + 3 + 270
    assert ("NoData", "other", NOON + 603) == (alert.alert, alert.subject, alert.resolved)
    assert 0 <= alert.fired - (last + 90 + CHAT.timeout + 5) <= 5


def test_a_time_in_which_nobody_left_anything_is_one_without_the_daemon() -> None:
    """It is told, and nobody is missed in it; what fired before goes on."""
    runs = together(recorded("ok x10 stalled x4 _x200 stalled ok x5"), recorded("ok x14 _x200 ok x6", OTHER, NOON + 3))
    report = backtested(runs, CHAT, OTHER, rules={"NoData": {"enabled": True}, "Errors": THREE_FAILURES_RULE})
    assert [(NOON + 393, NOON + 6420)] == report.gaps
    assert [("Errors", "chat", NOON + 6510)] == [(one.alert, one.subject, one.resolved) for one in report.alerts]


def test_an_egress_that_is_down_explains_what_fails() -> None:
    """Two hosts unreachable: one page, and none for each canary."""
    far = structs.replace(OTHER, host="b.example")
    near = structs.replace(CHAT, host="a.example")
    runs = together(recorded("ok x5 dns_failed x20", near), recorded("ok x5 connect_failed x20", far, NOON + 1))
    report = backtested(runs, near, far)
    assert (1, 0, 0) == structs.astuple(report.receivers["hook"])
    assert (1, 2) == (report.rules["CanaryEgressDown"].fires, report.rules["Errors"].fires)


def test_runs_of_other_canaries_are_counted_and_left_out() -> None:
    """They were removed or renamed since."""
    report = backtested(together(recorded("stalled x5"), recorded("stalled x7", OTHER)))
    assert (5, 7, 1) == (report.runs, report.unknown_canary_runs, len(report.alerts))


def test_a_clock_that_was_set_back_is_taken_as_it_was() -> None:
    """Runs are replayed in the order in which they ended, whatever their times say."""
    runs = [*recorded("ok x5 stalled x2"), *recorded("stalled x2 ok x5", start=NOON - 3600)]
    report = backtested(runs)
    assert [(NOON - 3600, 4)] == [(alert.fired, alert.bad) for alert in report.alerts]


def test_nothing_recorded_is_an_empty_report() -> None:
    """No run, no alert, no failure."""
    report = backtested([])
    assert (None, None, 0, []) == (report.start, report.end, report.runs, report.alerts)


def test_a_run_from_the_far_future_ends(monkeypatch) -> None:
    """A clock that jumped by decades, and back: the time between is not gone through tick by tick."""
    runs = [*recorded("ok x5"), a_run(1, started=4_000_000_000.0, run_id="far"), *recorded("stalled x3")]
    assert 1 == len(backtested(runs).alerts)


def test_alerts_are_spelled_out_up_to_a_limit(monkeypatch) -> None:
    """Further ones are counted, and in the sums."""
    monkeypatch.setattr(module, "MAX_ALERTS", 2)
    report = backtested(recorded("stalled x3 ok x3 " * 5))
    assert (2, 3, 5) == (len(report.alerts), report.omitted_alerts, report.rules["Errors"].fires)


def test_what_went_before_is_known_and_not_reported() -> None:
    """Of two outages the first began earlier and counts from then on only; the rules know what they had seen."""
    runs = recorded("ok x4 stalled x6 ok x4 stalled x3 ok x3")
    whole = backtested(runs)
    report = run_backtest(alerts(), "default", (CHAT,), runs, NOON + 240)
    assert [(alert.fired, alert.resolved) for alert in whole.alerts] == [
        (alert.fired, alert.resolved) for alert in report.alerts
    ]
    assert [360.0 - 240.0, 90.0] == [alert.seconds for alert in report.alerts]
    assert (1, 1, 2) == (
        report.rules["Errors"].fires,
        report.receivers["hook"].pages,
        report.receivers["hook"].resolves,
    )
    assert (12, NOON + 240) == (report.runs, report.start)


def test_nothing_is_reported_if_nothing_ran_since() -> None:
    """Neither runs nor alerts."""
    report = run_backtest(alerts(), "default", (CHAT,), recorded("ok x4 stalled x6 ok x4"), NOON + 9000)
    assert (0, None, []) == (report.runs, report.start, report.alerts)
