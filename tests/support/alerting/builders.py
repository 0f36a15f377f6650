"""Builders of runs, faults, rules and messages, and an engine harness with its stored rows."""

from typing import Any

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.former_keys import former_keys
from streamcanary.alerting.engine.grouping import notification_queue
from streamcanary.alerting.engine.inputs import Input, RunFinished, SendFinished, SendStarted, Tick
from streamcanary.alerting.engine.state import TABLES, State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.engine.stored_rows import read_state
from streamcanary.alerting.notify.delivery.result import Accepted, DeliveryResult
from streamcanary.alerting.notify.message import Message, render_notification
from streamcanary.model.alerts.incident import Action, Incident, Notification
from streamcanary.model.alerts.row_change import AlertTable, RowChange
from streamcanary.model.canary import Canary
from streamcanary.model.faults import Blame, Fault, FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind
from support.alerting.invariants import check_step_invariants
from support.servers.receiver import SECRET

CHAT = Canary(name="chat", target="openai", provider="openai", interval=30.0, labels={"tier": "prod"})
NOON = 1_800_000_000.0
"""A Unix time in 2027 (s)."""

THREE_FAILURES_RULE: dict[str, Any] = {
    "detector": {"type": "consecutive", "failures": 3},
    "labels": {"severity": "page"},
    "annotations": {"summary": "{canary}: {bad} of the last {total} runs failed"},
}


def a_fault(kind: FaultKind = FaultKind.STALLED, blame: Blame | None = None) -> Fault:
    """Build a fault of ``kind``."""
    return make_fault(kind, Phase.STREAM, f"it is {kind}", blame=blame)


def a_run(number: int = 0, kind: OutcomeKind = OutcomeKind.OK, fault: Fault | None = None, **changes: Any) -> Outcome:
    """Build the outcome of run ``number`` of ``chat`` with one attempt; runs start every 30 s from ``NOON``."""
    at = NOON + 30 * number
    attempts = (
        ()
        if kind is OutcomeKind.SKIPPED
        else (Attempt(number=1, route="primary", started=at, duration=changes.get("duration", 1.0), fault=fault),)
    )
    values: dict[str, Any] = {
        "run_id": f"run-{number}",
        "canary": "chat",
        "target": "openai",
        "provider": "openai",
        "kind": kind,
        "scheduled": at,
        "started": at,
        "duration": 1.0,
        "fault": fault,
        "attempts": attempts,
        "trace_id": f"{number:032x}",
    }
    return Outcome(**{**values, **changes})


def good(number: int = 0) -> Outcome:
    """Build a successful run."""
    return a_run(number)


def bad(number: int = 0, kind: FaultKind = FaultKind.STALLED) -> Outcome:
    """Build a failed run."""
    return a_run(number, OutcomeKind.FAILED, a_fault(kind))


def neutral(number: int = 0) -> Outcome:
    """Build a failed run that is a neutral sample: its blame is not selected by the rules."""
    return a_run(number, OutcomeKind.FAILED, a_fault(FaultKind.AUTH_FAILED))


def skipped(number: int = 0) -> Outcome:
    """Build a skipped run."""
    return a_run(number, OutcomeKind.SKIPPED, reason="overlap")


def webhook_config(url: str = "http://127.0.0.1:9/hook", **more: Any) -> dict[str, Any]:
    """Build the config section of a webhook receiver."""
    return {"type": "webhook", "url": url, "secret": SECRET, **more}


def pagerduty_config(**more: Any) -> dict[str, Any]:
    """Build the config section of a PagerDuty receiver, which drops a resolve of an alert that it does not have."""
    return {"type": "pagerduty", "routing_key": "0" * 32, "url": "http://127.0.0.1:9", **more}


def alerts(**sections: Any) -> AlertsConfig:
    """Build the config of ``alerts:``; by default one rule (three consecutive failures) and one webhook ``hook``.

    By default each alert is a separate group with ``group_wait`` 0 and no repeat, and the built-in rules that watch
    canaries are off. ``sections`` override the defaults.
    """
    watching = ("TargetRejected", "NoData", "CertificateExpiring", "CertificateExpiringSoon")
    off = {name: {"enabled": False} for name in watching}
    rules = {**off, **sections.pop("rules", {"Errors": THREE_FAILURES_RULE})}
    alone: dict[str, Any] = {"group_by": ["alert", "canary"], "group_wait": 0, "repeat_interval": "90d"}
    return AlertsConfig.model_validate({"rules": rules, "receivers": {"hook": webhook_config()}, **alone, **sections})


def a_message(*incidents: Incident, action: Action = Action.TRIGGER, now: float = NOON + 120) -> Message:
    """Render a notification of a group of ``incidents``."""
    opened = min(incident.opened for incident in incidents)
    notification = Notification(
        id="notice",
        receiver="hook",
        group="group",
        action=action,
        labels={"alert": incidents[0].rule},
        opened=opened,
        sequence=1,
        members=incidents,
        member_count=len(incidents),
        created=now,
        next_attempt=now,
    )
    return render_notification(notification)


class EngineHarness:
    """Runs an engine and stores the rows of its steps; :meth:`crash` continues from the stored rows alone."""

    def __init__(self, config: AlertsConfig | None = None, *canaries: Canary) -> None:
        self.stored_rows: dict[AlertTable, dict[str, bytes]] = {table: {} for table in TABLES}
        self.state = State()
        self.now = NOON
        self.run_count = 0
        self.rows: tuple[RowChange, ...] = ()
        self.configure(config or alerts(), *canaries)

    def configure(self, config: AlertsConfig, *canaries: Canary, instance: str = "default") -> None:
        """Replace the configuration as the service does: open alerts keep their keys. The default canary is chat."""
        self.config = config
        engine = Engine(config, instance, canaries or (CHAT,))
        keys = former_keys(self.state.incidents.values(), engine.bindings, instance)
        self.engine = Engine(config, instance, canaries or (CHAT,), keys)

    def step(self, input: Input) -> None:  # noqa: A002
        """Step the engine, commit its rows, and check the invariants of a step."""
        before, rows_before = self.state, self.state.rows()
        self.state, self.rows = self.engine.step(before, input, self.now)
        assert before.rows() == rows_before  # a step must not change its input state
        check_step_invariants(self.engine, self.config, before, input, self.state, self.now)
        for row in self.rows:
            if row.value is None:
                self.stored_rows[row.table].pop(row.key, None)  # created and deleted in one step
            else:
                self.stored_rows[row.table][row.key] = row.value

    def advance_one_minute(self) -> None:
        """Advance the clock by a minute, with a tick every 15 s."""
        for _ in range(4):
            self.now += 15
            self.step(Tick())

    def crash(self) -> None:
        """Discard the state and read it again from the stored rows."""
        self.state, unreadable = read_state({table: self.stored_rows[table] for table in TABLES})
        assert unreadable == []

    def observe(self, *outcomes: Any) -> None:
        """Process runs, one every 30 s: outcomes, or functions from a run number to an outcome."""
        for run in outcomes:
            self.now = NOON + 30 * self.run_count + 2
            self.step(RunFinished(run(self.run_count) if callable(run) else run))
            self.run_count += 1

    def start_send(self, receiver: str = "hook") -> Notification | None:
        """Start sending the next notification to ``receiver`` if it is due, and return it."""
        notification = notification_queue.next_notification(self.state, receiver, self.now)
        if notification is None or notification_queue.seconds_until_due(notification, self.now) > 0:
            return None
        self.step(SendStarted(notification.id))
        return self.state.notifications[notification.id]

    def deliver(self, receiver: str = "hook", answer: DeliveryResult | None = None) -> Notification | None:
        """Send the next notification to ``receiver`` if it is due, and return it."""
        notification = self.start_send(receiver)
        if notification is not None:
            self.step(SendFinished(notification.id, answer or Accepted(), 0.0))
        return notification

    def deliver_all(self, *receivers: str) -> list[tuple[str, str]]:
        """Send all notifications that are due, and return the action and the first rule of each."""
        sent = []
        for receiver in receivers or ("hook",):
            while notification := self.deliver(receiver):
                sent.append((notification.action.value, notification.members[0].rule))
        return sent

    @property
    def open_incidents(self) -> list[Incident]:
        """Return the open incidents."""
        return [incident for incident in self.state.incidents.values() if incident.is_firing]
