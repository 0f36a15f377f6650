"""A configuration that changes while the engine runs, and the alert about one that cannot be applied."""

from typing import Any

import pytest
from msgspec import structs

from streamcanary.alerting.engine.inputs import (
    ConfigAccepted,
    ConfigRejected,
    ConfigReloaded,
    SendFinished,
    Started,
    StateReceiverReported,
    Tick,
)
from streamcanary.alerting.notify.delivery.result import Accepted, Refused, Retry
from streamcanary.model.canary import Canary
from support.alerting.builders import CHAT, THREE_FAILURES_RULE, EngineHarness, alerts, bad, good, webhook_config

OTHER = structs.replace(CHAT, name="other")
WATCHED = {"Errors": THREE_FAILURES_RULE, "NoData": {"enabled": True}}


def reload(harness: EngineHarness, config: Any, *canaries: Canary, rescheduled: frozenset[str] = frozenset()) -> None:
    """Replace the configuration."""
    harness.configure(config, *canaries)
    harness.step(ConfigReloaded(rescheduled))


def test_an_open_alert_continues() -> None:
    """A reload sends nothing about an alert that still fires, and the detector continues to count."""
    harness = EngineHarness()
    harness.observe(bad, bad, bad)
    harness.deliver_all()
    [before] = harness.open_incidents
    reload(harness, alerts(group_interval="1h"), CHAT, OTHER)
    assert [] == harness.deliver_all()
    [after] = harness.open_incidents
    assert (before.key, before.opened) == (after.key, after.opened)
    harness.observe(good, good, good)
    harness.advance_one_minute()
    assert [("resolve", "Errors")] == harness.deliver_all()


def test_a_detector_keeps_its_count() -> None:
    """Two failures before a reload and one after it are three."""
    harness = EngineHarness()
    harness.observe(bad, bad)
    reload(harness, alerts(), CHAT, OTHER)
    harness.observe(bad)
    assert [("trigger", "Errors")] == harness.deliver_all()


def test_the_alert_of_a_removed_canary_resolves() -> None:
    """The resolve has the reason."""
    harness = EngineHarness()
    harness.observe(bad, bad, bad)
    harness.deliver_all()
    reload(harness, alerts(), OTHER)
    [incident] = harness.state.incidents.values()
    assert str(incident.resolve_reason).startswith("the canary was removed from the configuration")
    assert [("resolve", "Errors")] == harness.deliver_all()


def test_missing_runs_of_an_added_canary_count_from_the_reload() -> None:
    """``NoData`` does not fire at once for a canary that was added to a daemon that runs for an hour."""
    harness = EngineHarness(alerts(rules=WATCHED))
    harness.step(Started())
    for _ in range(60):
        harness.observe(good)
        harness.advance_one_minute()
    reload(harness, alerts(rules=WATCHED), CHAT, OTHER, rescheduled=frozenset({"other"}))
    harness.now += 15
    harness.step(Tick())
    assert [] == harness.open_incidents
    for _ in range(4):
        harness.advance_one_minute()
    assert {"chat", "other"} == {incident.subject for incident in harness.open_incidents}


def test_missing_runs_of_other_canaries_count_on() -> None:
    """Reloads do not keep ``NoData`` from firing for a canary whose runs are missing."""
    harness = EngineHarness(alerts(rules=WATCHED))
    harness.step(Started())
    harness.observe(good)
    for _ in range(6):
        reload(harness, alerts(rules=WATCHED))
        harness.advance_one_minute()
    assert ["NoData"] == [incident.rule for incident in harness.open_incidents]


def test_a_start_and_a_reload_lead_to_the_same_state() -> None:
    """A daemon that was restarted with the file has the same incidents, groups and notifications."""
    after = alerts(
        rules={"Errors": {**THREE_FAILURES_RULE, "labels": {"severity": "ticket"}}}, receivers={"new": webhook_config()}
    )
    states = []
    for input_ in (ConfigReloaded(), Started()):
        harness = EngineHarness()
        harness.step(Started())
        harness.observe(bad, bad, bad)
        harness.deliver_all()
        harness.configure(after, CHAT, OTHER)
        harness.step(input_)
        states.append(harness.state.rows())
    assert states[0] == states[1]


def test_a_refused_notification_is_sent_again() -> None:
    """The key of the receiver may have been corrected."""
    harness = EngineHarness()
    harness.observe(bad, bad, bad)
    harness.deliver(answer=Refused("HTTP 401"))
    assert None is harness.deliver()
    reload(harness, alerts(receivers={"hook": webhook_config("http://127.0.0.1:10/hook")}))
    assert [("trigger", "Errors")] == harness.deliver_all()


@pytest.mark.parametrize("result", [Refused("HTTP 401"), Retry(reason="HTTP 503")])
def test_the_last_delivery_to_a_removed_receiver_has_no_effect(result: Any) -> None:
    """It opens no ``ReceiverFailing``, which nothing could resolve."""
    harness = EngineHarness(alerts(receivers={"hook": webhook_config(), "kept": webhook_config()}))
    harness.observe(bad, bad, bad)
    sending = harness.start_send("hook")
    assert sending is not None
    reload(harness, alerts(receivers={"kept": webhook_config()}))
    harness.step(SendFinished(sending.id, result, 0.0))
    harness.step(StateReceiverReported("hook", result))
    assert ["Errors"] == [incident.rule for incident in harness.open_incidents]


def test_reload_failed_fires_until_the_file_is_applied() -> None:
    """A second invalid file replaces the message, and sends nothing; the file that is applied resolves the alert."""
    harness = EngineHarness()
    harness.step(ConfigRejected("c.yaml:3: unknown key"))
    assert [("trigger", "ReloadFailed")] == harness.deliver_all()
    harness.step(ConfigRejected("c.yaml:7: not a number"))
    assert [] == harness.deliver_all()
    [incident] = harness.open_incidents
    assert ("c.yaml:7: not a number", "ticket") == (incident.evidence.message, incident.labels["severity"])
    harness.step(ConfigAccepted())
    assert [("resolve", "ReloadFailed")] == harness.deliver_all()


def test_a_start_resolves_reload_failed() -> None:
    """A daemon starts with a valid configuration only."""
    harness = EngineHarness()
    harness.step(ConfigRejected("c.yaml:3: unknown key"))
    harness.deliver_all()
    harness.crash()
    harness.step(Started())
    assert [("resolve", "ReloadFailed")] == harness.deliver_all()


def test_reload_failed_can_be_switched_off() -> None:
    """``enabled: false`` applies to it as to any rule."""
    harness = EngineHarness(alerts(rules={"ReloadFailed": {"enabled": False}}))
    harness.step(ConfigRejected("c.yaml:3: unknown key"))
    assert [] == harness.open_incidents
    assert [] == harness.deliver_all()


def test_an_accepted_receiver_of_the_former_configuration_resolves_nothing_else() -> None:
    """A delivery that was accepted after the reload counts for its own notification."""
    harness = EngineHarness()
    harness.observe(bad, bad, bad)
    sending = harness.start_send()
    assert sending is not None
    reload(harness, alerts(receivers={"hook": webhook_config("http://127.0.0.1:10/hook")}))
    harness.step(SendFinished(sending.id, Accepted(), 0.0))
    assert [] == harness.deliver_all()
    harness.observe(good, good, good)
    harness.advance_one_minute()
    assert [("resolve", "Errors")] == harness.deliver_all()
