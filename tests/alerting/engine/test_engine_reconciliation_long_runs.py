"""Test long simulated runs after a first start or a lost store: who is sent which notifications."""

from typing import Any

import msgspec
import pytest

from streamcanary.alerting.engine.inputs import RunFinished, Started, Tick
from streamcanary.alerting.engine.state import TABLES, State
from streamcanary.model.canary import Canary
from support.alerting.builders import (
    CHAT,
    THREE_FAILURES_RULE,
    EngineHarness,
    alerts,
    bad,
    good,
    pagerduty_config,
    webhook_config,
)

RECEIVERS: dict[str, dict[str, Any]] = {
    "oncall": pagerduty_config(),
    "hook": webhook_config(),
    "chat": {"type": "slack", "url": "https://hooks.slack.com/services/T0/B0/x"},
    "mail": {"type": "apprise", "urls": ["json://127.0.0.1:9/"]},
}
DETECTORS: dict[str, dict[str, Any]] = {
    "spike": {"type": "spike"},
    "ratio": {"type": "ratio", "over": "5m", "threshold": "50%", "min_samples": 5},
    "ratio of runs": {"type": "ratio", "over": "20 runs", "threshold": "30%", "min_samples": 10},
    "consecutive": {"type": "consecutive", "failures": 3},
    "burn_rate": {
        "type": "burn_rate",
        "objective": "90%",
        "windows": [{"long": "30m", "short": "5m", "rate": 3}],
    },
}
DAY = 2880
"""Runs in a day, one each 30 s."""


class Simulation:
    """Canaries that run each 30 s, and what each receiver is sent."""

    def __init__(self, *canaries: Canary, **sections: Any) -> None:
        self.canaries = canaries or (CHAT,)
        self.harness = EngineHarness(alerts(receivers=RECEIVERS, **sections), *self.canaries)
        self.harness.step(Started())
        self.sent: dict[str, list[str]] = {name: [] for name in RECEIVERS}
        self.run_count = 0

    def run(self, *patterns: str) -> None:
        """Process runs of each canary: ``x`` for a failed run, anything else for a good one."""
        for results in zip(*patterns, strict=True):
            for canary, result in zip(self.canaries, results, strict=True):
                run = msgspec.structs.replace(
                    bad(self.run_count) if result == "x" else good(self.run_count), canary=canary.name
                )
                self.harness.now = run.started + run.duration
                self.harness.step(RunFinished(run))
            self.run_count += 1
            for seconds in (5, 20):
                self.harness.now = run.started + seconds
                self.harness.step(Tick())
                for name, sent in self.sent.items():
                    sent += [f"{action} {rule}" for action, rule in self.harness.deliver_all(name)]

    def lose_store(self) -> None:
        """Restart with an empty store, and clear what was sent before."""
        self.harness.state = State()
        self.harness.stored_rows = {table: {} for table in TABLES}
        self.harness.step(Started())
        for sent in self.sent.values():
            sent.clear()


@pytest.mark.parametrize("detector", DETECTORS.values(), ids=DETECTORS)
def test_a_lost_store_resolves_a_page_once_when_its_rule_would(detector: dict[str, Any]) -> None:
    """While half of the runs fail the page stays open for hours; once all are good it is resolved once."""
    simulation = Simulation(rules={"Errors": {"detector": detector, "labels": {"severity": "page"}}})
    simulation.run("." * 60 + "x" * 60 + ".x" * 30)
    assert ["resolve Errors", "trigger Errors"] == simulation.sent["oncall"]  # the first is that of the first start
    simulation.lose_store()
    simulation.run(".x" * (DAY // 4))
    assert "resolve Errors" not in simulation.sent["oncall"]
    simulation.run("." * DAY)
    assert ["resolve Errors"] == [text for text in simulation.sent["oncall"] if text.startswith("resolve")]
    assert [] == simulation.harness.open_incidents


@pytest.mark.parametrize("detector", DETECTORS.values(), ids=DETECTORS)
def test_a_recovery_during_the_data_loss_is_one_resolve(detector: dict[str, Any]) -> None:
    """A page whose canary is well after the loss is resolved once, and only where unknown resolves are dropped."""
    simulation = Simulation(rules={"Errors": {"detector": detector}})
    simulation.run("x" * 120)
    simulation.lose_store()
    simulation.run("." * DAY)
    assert {"oncall": ["resolve Errors"], "hook": [], "chat": [], "mail": []} == simulation.sent


def test_a_first_start_notifies_no_one() -> None:
    """A new configuration sends one resolve for each key to PagerDuty, which drops it, and nothing to others."""
    rules = {"Errors": THREE_FAILURES_RULE, "NoData": {}, "TargetRejected": {}}
    simulation = Simulation(rules=rules)
    simulation.run("." * DAY)
    assert {"hook": [], "chat": [], "mail": []} == {
        name: sent for name, sent in simulation.sent.items() if name != "oncall"
    }
    assert ["resolve Errors", "resolve NoData", "resolve TargetRejected"] == sorted(simulation.sent["oncall"])
    simulation.harness.crash()
    simulation.harness.step(Started())
    simulation.run("." * 60)
    assert 3 == len(simulation.sent["oncall"])


def test_a_first_start_with_failures_sends_only_what_fires() -> None:
    """A new configuration whose canary fails at once sends the alert to all, and its resolve to all."""
    simulation = Simulation()
    simulation.run("xxx......")
    assert {name: ["trigger Errors", "resolve Errors"] for name in RECEIVERS} == simulation.sent


def test_a_group_is_resolved_when_its_last_alert_would_resolve() -> None:
    """An alert that fires and resolves again after the loss leaves the page of its group open for the other alerts."""
    fleet = [Canary(name=name, target="t", provider="p", interval=30.0) for name in ("a", "b")]
    simulation = Simulation(*fleet, group_by=["alert"])
    simulation.run("xxx", "xxx")
    simulation.lose_store()
    simulation.run("xxx" + "." * 10, ".x" * 6 + ".")
    assert {
        "oncall": ["trigger Errors"],
        "hook": ["trigger Errors", "resolve Errors"],
        "chat": ["trigger Errors", "resolve Errors"],
        "mail": ["trigger Errors", "resolve Errors"],
    } == simulation.sent
    simulation.run("." * 100, "." * 100)
    assert ["trigger Errors", "resolve Errors"] == simulation.sent["oncall"]
    assert 2 == len(simulation.sent["hook"])


def test_an_alert_that_fires_in_a_deferred_group_is_one_page() -> None:
    """A further alert of a group whose resolve is deferred triggers the same key, and one resolve ends it."""
    fleet = [Canary(name=name, target="t", provider="p", interval=30.0) for name in ("a", "b")]
    simulation = Simulation(*fleet, group_by=["alert"])
    simulation.run("xxx", "xxx")
    simulation.lose_store()
    simulation.run("xxx" + "." * 10, ".x" * 6 + ".")
    simulation.run("." * 10, "xxx" + "." * 7)
    simulation.run("." * 100, "." * 100)
    assert ["trigger Errors", "trigger Errors", "resolve Errors"] == simulation.sent["oncall"]
