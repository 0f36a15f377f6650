"""Parts for tests of alerting: runs and rules by the word, and an engine on a store of its own."""

from typing import Any

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine import notification_queue
from streamcanary.alerting.engine.inputs import Input, RunFinished, SendFinished, SendStarted, Tick
from streamcanary.alerting.engine.state import TABLES, State, read_state
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.notify.message import Message, render_notification
from streamcanary.alerting.notify.receivers.delivery_result import Accepted, DeliveryResult
from streamcanary.model.alerts.incident import Action, Incident, Notification
from streamcanary.model.alerts.row_change import RowChange, StateTable
from streamcanary.model.canary import Canary
from streamcanary.model.faults import Blame, Fault, FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind
from support.alerting.invariants import check_step_invariants
from support.servers.receiver import SECRET

CHAT = Canary(name="chat", target="openai", provider="openai", interval=30.0, labels={"tier": "prod"})
NOON = 1_800_000_000.0
"""A moment in 2027."""

THREE_FAILURES_RULE: dict[str, Any] = {
    "detector": {"type": "consecutive", "failures": 3},
    "labels": {"severity": "page"},
    "annotations": {"summary": "{canary}: {bad} of the last {total} runs failed"},
}


def a_fault(kind: FaultKind = FaultKind.STALLED, blame: Blame | None = None) -> Fault:
    """Build a fault of ``kind``."""
    return make_fault(kind, Phase.STREAM, f"it is {kind}", blame=blame)


def a_run(number: int = 0, kind: OutcomeKind = OutcomeKind.OK, fault: Fault | None = None, **changes: Any) -> Outcome:
    """Build the outcome of run ``number`` of ``chat``, one each 30 s from noon, in one attempt."""
    at = NOON + 30 * number
    attempts = (
        ()
        if kind is OutcomeKind.SKIPPED
        else (Attempt(number=1, route="primary", started=at, duration=1.0, fault=fault),)
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
    """Build a run that went well."""
    return a_run(number)


def bad(number: int = 0, kind: FaultKind = FaultKind.STALLED) -> Outcome:
    """Build a run that failed."""
    return a_run(number, OutcomeKind.FAILED, a_fault(kind))


def neutral(number: int = 0) -> Outcome:
    """Build a run that failed for a reason that the rules do not blame."""
    return a_run(number, OutcomeKind.FAILED, a_fault(FaultKind.AUTH_FAILED))


def skipped(number: int = 0) -> Outcome:
    """Build a run that did not happen."""
    return a_run(number, OutcomeKind.SKIPPED, reason="overlap")


def webhook_config(url: str = "http://127.0.0.1:9/hook", **more: Any) -> dict[str, Any]:
    """Write the section of a webhook."""
    return {"type": "webhook", "url": url, "secret": SECRET, **more}


def alerts(**sections: Any) -> AlertsConfig:
    """Read an ``alerts:`` section; unless told otherwise, one rule (three in a row) and one webhook ``hook``.

    Each alert is a group of its own that waits for nothing and is not repeated, and of the built-in rules those that
    watch canaries are off, unless ``sections`` say otherwise.
    """
    off = {"TargetRejected": {"enabled": False}, "NoData": {"enabled": False}}
    rules = {**off, **sections.pop("rules", {"Errors": THREE_FAILURES_RULE})}
    alone: dict[str, Any] = {"group_by": ["alert", "canary"], "group_wait": 0, "repeat_interval": "90d"}
    return AlertsConfig.model_validate({"rules": rules, "receivers": {"hook": webhook_config()}, **alone, **sections})


def a_message(*incidents: Incident, action: Action = Action.TRIGGER, now: float = NOON + 120) -> Message:
    """Render the page of a group of ``incidents``."""
    opened = min(incident.opened for incident in incidents)
    notice = Notification(
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
    return render_notification(notice)


class EngineHarness:
    """An engine, and a ledger that holds the rows of its steps: :meth:`crash` goes on from the ledger alone."""

    def __init__(self, config: AlertsConfig | None = None, *canaries: Canary) -> None:
        self.stored_rows: dict[StateTable, dict[str, bytes]] = {table: {} for table in TABLES}
        self.state = State()
        self.now = NOON
        self.run_count = 0
        self.rows: tuple[RowChange, ...] = ()
        self.configure(config or alerts(), *canaries)

    def configure(self, config: AlertsConfig, *canaries: Canary, instance: str = "default") -> None:
        """Set another configuration; without canaries, for ``chat``."""
        self.config = config
        self.engine = Engine(config, instance, canaries or (CHAT,))

    def step(self, input: Input) -> None:  # noqa: A002
        """Step the engine, and commit."""
        before, ledger = self.state, self.state.rows()
        self.state, self.rows = self.engine.step(before, input, self.now)
        assert before.rows() == ledger  # a step changes no state in place
        check_step_invariants(self.engine, self.config, before, input, self.state, self.now)
        for row in self.rows:
            if row.value is None:
                self.stored_rows[row.table].pop(row.key, None)  # it may have come and gone in one step
            else:
                self.stored_rows[row.table][row.key] = row.value

    def advance_one_minute(self) -> None:
        """Let a minute pass, as the daemon sees it."""
        for _ in range(4):
            self.now += 15
            self.step(Tick())

    def crash(self) -> None:
        """Lose everything but the ledger."""
        self.state, unread = read_state(self.stored_rows)
        assert unread == []

    def observe(self, *outcomes: Any) -> None:
        """Let runs happen, one each 30 s: outcomes, or functions from a number to an outcome."""
        for run in outcomes:
            self.now = NOON + 30 * self.run_count + 2
            self.step(RunFinished(run(self.run_count) if callable(run) else run))
            self.run_count += 1

    def start_send(self, receiver: str = "hook") -> Notification | None:
        """Begin a try of what ``receiver`` gets next, if that is due; return what is sent."""
        notice = notification_queue.next_notification(self.state, receiver, self.now)
        if notice is None or notification_queue.seconds_until_due(notice, self.now) > 0:
            return None
        self.step(SendStarted(notice.id))
        return self.state.notifications[notice.id]

    def deliver(self, receiver: str = "hook", answer: DeliveryResult | None = None) -> Notification | None:
        """Send what ``receiver`` gets next, if that is due; return what was sent."""
        notice = self.start_send(receiver)
        if notice is not None:
            self.step(SendFinished(notice.id, answer or Accepted(), 0.0))
        return notice

    def deliver_all(self, *receivers: str) -> list[tuple[str, str]]:
        """Send everything that is due, and return action and rule of each."""
        sent = []
        for receiver in receivers or ("hook",):
            while notice := self.deliver(receiver):
                sent.append((notice.action.value, notice.members[0].rule))
        return sent

    @property
    def open_incidents(self) -> list[Incident]:
        """The incidents that are open."""
        return [incident for incident in self.state.incidents.values() if incident.is_firing]
