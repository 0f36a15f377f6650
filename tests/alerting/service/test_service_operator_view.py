"""What operators see of a running service: detector progress, receivers, maintenance windows, silence previews."""

from typing import Any

import pytest

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.inputs import SilenceCreated
from streamcanary.alerting.forecast.rule_forecasts import rule_forecasts
from streamcanary.alerting.maintenance import Maintenance
from streamcanary.alerting.notify.delivery.result import Accepted, Refused, Retry
from streamcanary.alerting.service.liveness import DeliveryFailure
from streamcanary.alerting.service.status.forecasts import BASE_RATE
from streamcanary.alerting.service.status.maintenance_windows import MAX_WINDOWS, maintenance_windows
from streamcanary.alerting.service.status.operator_view import OperatorView
from streamcanary.alerting.service.status.receiver_status import LastAccepted, receiver_statuses
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.duration import parse_duration
from streamcanary.model.status.canary_status import RuleStatus
from streamcanary.store.database import Store
from support.alerting.builders import CHAT, NOON, EngineHarness, alerts, bad, good, webhook_config
from support.alerting.pooled import fleet
from support.alerting.service import OUTAGE, enqueue_outcomes, running_service, webhooks_config
from support.clock import ManualClock
from support.servers.receiver import FakeReceiver

RATIO = {"type": "ratio", "over": "5m", "threshold": "50%", "min_samples": 4}
SPIKE = {"type": "spike", "normal": "2%", "spike": "30%", "autocorrelation": 0, "false_pages": "1 per 365d"}
BURN = {
    "type": "burn_rate",
    "objective": "90%",
    "windows": [{"long": "1h", "short": "5m", "rate": 4}],
    "min_samples": 2,
}


def view_of(harness: EngineHarness) -> OperatorView:
    """Return the view of the state of ``harness``."""
    clock = ManualClock()
    clock.advance(harness.now - clock.time())
    return OperatorView(lambda: (harness.config, harness.engine, harness.state), dict, clock)


def the_rule(harness: EngineHarness, canary: str = "chat") -> RuleStatus:
    """Return the status of the only rule."""
    (status,) = view_of(harness).rules(canary)
    return status


def harness_with(detector: dict[str, Any], **rule: Any) -> EngineHarness:
    """Return an engine with one rule."""
    return EngineHarness(alerts(rules={"Rule": {"detector": detector, **rule}}))


@pytest.mark.parametrize(
    ("detector", "runs", "progress", "text"),
    [
        ({"type": "consecutive", "failures": 4}, [], 0, "0 of 4 in a row"),
        ({"type": "consecutive", "failures": 4}, [bad], 0.25, "1 of 4 in a row"),
        ({"type": "consecutive", "failures": 4}, [bad, bad, good], 0, "0 of 4 in a row"),
        (SPIKE, [], 0, "0 of 35"),
        (SPIKE, [bad], 8 / 35, "8 of 35"),
        (SPIKE, [bad, good], 7 / 35, "7 of 35"),
        (RATIO, [], 0, "no runs, of at least 4 runs"),
        (RATIO, [bad], 0.5, "1 of 1 runs bad, of at least 4 runs"),
        (RATIO, [good, good, good, bad], 0.5, "1 of 2"),
        (BURN, [], 0, "burns 0x of 4x over 1h"),
        (BURN, [good, good, good, bad], 0.625, "burns 2.5x of 4x over 1h"),
    ],
)
def test_progress_is_the_state_of_the_detector(
    detector: dict[str, Any], runs: list[Any], progress: float, text: str
) -> None:
    """Before it fires, progress is the part of the evidence that fires the rule."""
    harness = harness_with(detector)
    harness.observe(*runs)
    status = the_rule(harness)
    assert (text, False) == (status.text, status.is_firing)
    assert pytest.approx(progress) == status.progress


@pytest.mark.parametrize(
    ("detector", "failures", "text"),
    [
        ({"type": "consecutive", "failures": 3}, 3, "2 good runs until it resolves"),
        (SPIKE, 5, "34 good runs until it resolves"),
        (RATIO, 4, "4 of 5 runs bad in the last 5m; resolves below 2"),
        (BURN, 4, "burns 8x over 5m; resolves below 2x"),
    ],
)
def test_progress_of_a_firing_rule_is_what_is_left_until_it_resolves(
    detector: dict[str, Any], failures: int, text: str
) -> None:
    """After a good run there is less left than at the start of the alert, and none when it has resolved."""
    harness = harness_with(detector)
    harness.observe(*[bad] * failures)
    begin = the_rule(harness)
    harness.observe(good)
    after = the_rule(harness)
    assert (1, True) == (begin.progress, begin.is_firing)
    assert (text, True) == (after.text, after.is_firing)
    assert after.progress <= begin.progress
    harness.observe(*[good] * 60)
    assert (0, False) == (the_rule(harness).progress, the_rule(harness).is_firing)


def test_samples_that_have_left_the_window_do_not_count() -> None:
    """Without new runs, the window of a ratio empties."""
    harness = harness_with(RATIO)
    harness.observe(bad, good, good, good)
    harness.now += 200
    assert 0.5 == the_rule(harness).progress
    harness.now += 300
    assert 0 == the_rule(harness).progress


def test_missing_runs_are_counted() -> None:
    """A rule about missing data counts the runs that should have ended since the last one."""
    harness = EngineHarness(alerts(rules={"Quiet": {"detector": {"type": "no_data", "runs": 3}}}))
    harness.observe(good)
    for expected, seconds in (("0 of 3 runs missing", 20), ("1 of 3 runs missing", CHAT.timeout + 20)):
        harness.now += seconds
        assert expected == the_rule(harness).text


def test_pooled_rules_are_those_of_each_of_their_canaries() -> None:
    """A rule per canary and target has two rows; what fires is first."""
    canaries = [Canary(name=name, target="openai", provider="openai", interval=30.0) for name in ("chat", "search")]
    rule = {"per": ["canary", "target"], "detector": {"type": "consecutive", "failures": 3}}
    harness = EngineHarness(alerts(rules={"Errors": rule}), *canaries)
    harness.observe(bad, bad)
    assert {"chat": 2 / 3, "target openai": 2 / 3} == {
        one.subject: one.progress for one in view_of(harness).rules("chat")
    }
    assert {"search": 0, "target openai": 2 / 3} == {
        one.subject: one.progress for one in view_of(harness).rules("search")
    }
    assert () == view_of(harness).rules("unknown")


async def test_forecasts_are_computed_when_asked_for_and_kept() -> None:
    """The forecast is that of ``check``, in words; before it was computed it is empty."""
    view = view_of(harness_with(SPIKE))
    assert [""] == [one.forecast for one in view.rules("chat")]
    expected = ["detects bad runs: 20% in 21m, 50% in 6m, 100% in 2m"]
    forecasts = [one.forecast for one in await view.rules_with_forecasts("chat")]
    assert forecasts == [one.forecast for one in view.rules("chat")]
    assert len(expected) == len(forecasts)
    assert forecasts[0].startswith("detects bad runs: 20% in ")
    assert forecasts[0].count(" in ") == 3


@pytest.mark.parametrize("detector", [RATIO, SPIKE, BURN, {"type": "consecutive", "failures": 3}])
async def test_rule_over_several_canaries_has_the_forecast_of_their_runs(detector: dict[str, Any]) -> None:
    """It is that of ``check``, for each kind of detector."""
    canaries = fleet("abcd")
    harness = EngineHarness(alerts(rules={"Rule": {"detector": detector, "per": ["target"]}}), *canaries)
    [expected] = rule_forecasts(harness.config.rules, canaries, base_rate=BASE_RATE)
    [status] = await view_of(harness).rules_with_forecasts("a")
    longest = parse_duration(status.forecast.rpartition("100% in ")[2])
    assert expected.forecast.detection_delays[-1] == pytest.approx(longest, abs=60)
    assert status.forecast.startswith("detects bad runs: 20% in ")


@pytest.mark.parametrize(
    ("answer", "state", "error"),
    [
        (Accepted(), "ok", None),
        (Retry(reason="HTTP 503"), "retrying", "HTTP 503"),
        (Refused("HTTP 400: no such channel"), "refused", "HTTP 400: no such channel"),
    ],
)
def test_a_receiver_has_the_state_of_its_last_notification(answer: Any, state: str, error: str | None) -> None:
    """Accepted, retried or refused, with the error; before the first notification it is unused."""
    harness = EngineHarness()
    assert ["unused"] == [one.state for one in view_of(harness).receivers]
    harness.observe(bad, bad, bad)
    harness.deliver("hook", answer)
    (receiver,) = view_of(harness).receivers
    assert ("hook", "webhook", state, error) == (receiver.name, receiver.type, receiver.state, receiver.last_error)
    assert (harness.now if state == "ok" else None) == receiver.last_accepted


def test_a_state_receiver_is_retrying_while_an_address_fails() -> None:
    """One of its addresses is enough."""
    config = AlertsConfig.model_validate(
        {"receivers": {"prom": {"type": "alertmanager", "urls": ["http://127.0.0.1:9"]}}}
    )
    failures = {"prom": [None, DeliveryFailure(1.0, "connection refused")]}
    (status,) = receiver_statuses(config.receivers, EngineHarness().state, failures, LastAccepted())
    assert ("retrying", 1, "connection refused") == (status.state, status.pending, status.last_error)


def test_maintenance_windows_are_those_of_a_week_in_their_time_zone() -> None:
    """An open window is listed first; the change of the clocks moves a window in UTC."""
    window = Maintenance.model_validate(
        {"match": ['tier="prod"'], "cron": "0 17 * * fri", "for": "30m", "timezone": "Europe/Berlin"}
    )
    daily = Maintenance.model_validate({"match": ['tier="prod"'], "cron": "0 3 * * *", "for": "2h"})
    found = maintenance_windows({"deploy": window, "backup": daily}, NOON)
    assert ["backup"] * 4 == [one.name for one in found if one.name == "backup"][:4]
    assert sorted(one.starts for one in found) == [one.starts for one in found]
    assert [1800.0] == [one.ends - one.starts for one in found if one.name == "deploy"]
    assert all(one.ends > NOON and one.starts <= NOON + 7 * 86400 for one in found)


def test_maintenance_windows_are_bounded() -> None:
    """A window each minute is listed a hundred times."""
    window = Maintenance.model_validate({"match": ['tier="prod"'], "cron": "* * * * *", "for": "10s"})
    assert MAX_WINDOWS == len(maintenance_windows({"often": window}, NOON))


def a_silence(*match: str) -> Silence:
    """Return a silence from now on."""
    return Silence(id="s", match=match, starts=NOON, until=NOON + 3600)


def test_a_preview_names_canaries_and_firing_alerts() -> None:
    """A silence of the tier matches both canaries, and the alert that fires."""
    canaries = [CHAT, Canary(name="search", target="openai", provider="openai", interval=30.0, labels={"tier": "prod"})]
    harness = EngineHarness(None, *canaries)
    harness.observe(bad, bad, bad)
    preview = view_of(harness).preview_silence(a_silence('tier="prod"'))
    assert (("chat", "search"), ("Errors: chat",)) == (preview.canaries, preview.alerts)
    preview = view_of(harness).preview_silence(a_silence('alertname="Errors"', 'canary="search"'))
    assert (("search",), ()) == (preview.canaries, preview.alerts)
    preview = view_of(harness).preview_silence(a_silence('tier="test"'))
    assert (0, 0) == (preview.canary_count, preview.alert_count)


def test_a_preview_of_many_canaries_is_bounded() -> None:
    """Fifty are named, and all are counted. A preview creates nothing."""
    canaries = [Canary(name=f"c{n:03}", target="openai", provider="openai", interval=30.0) for n in range(120)]
    harness = EngineHarness(None, *canaries)
    preview = view_of(harness).preview_silence(a_silence('canary=~".*"'))
    assert (50, 120) == (len(preview.canaries), preview.canary_count)
    assert {} == harness.state.silences
    harness.step(SilenceCreated(a_silence('canary=~".*"')))


async def test_the_running_service_shows_when_a_receiver_accepted_last(store: Store) -> None:
    """The time of the last accepted notification is that of the service's clock."""
    clock = ManualClock()
    async with FakeReceiver() as hook, running_service(store, webhooks_config(hook=hook), clock) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await hook.wait_for_deliveries(1)
        await alerting.drain(5)
        assert [(clock.time(), "ok", 0)] == [
            (one.last_accepted, one.state, one.pending) for one in alerting.view.receivers
        ]
        assert webhook_config(hook.url)["type"] == alerting.view.receivers[0].type
