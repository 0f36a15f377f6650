"""Parts for tests of alerting: runs and rules by the word, and an engine on a store of its own."""

from typing import Any

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine import notification_queue
from streamcanary.alerting.engine.inputs import Answered, Input, Ran, Tick, Trying
from streamcanary.alerting.engine.state import TABLES, State, read_state
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.notify.message import Page, render_notice
from streamcanary.alerting.notify.receivers.delivery_result import Accepted, Answer
from streamcanary.model.alerts.incident import Action, Incident, Notice
from streamcanary.model.alerts.row_change import Row, Table
from streamcanary.model.canary import Canary
from streamcanary.model.faults import Blame, Fault, FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind
from support.alerting.invariants import check_step
from support.servers.receiver import SECRET

CHAT = Canary(name="chat", target="openai", provider="openai", interval=30.0, labels={"tier": "prod"})
NOON = 1_800_000_000.0
"""A moment in 2027."""

THREE_IN_A_ROW: dict[str, Any] = {
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


def a_hook(url: str = "http://127.0.0.1:9/hook", **more: Any) -> dict[str, Any]:
    """Write the section of a webhook."""
    return {"type": "webhook", "url": url, "secret": SECRET, **more}


def alerts(**sections: Any) -> AlertsConfig:
    """Read an ``alerts:`` section; unless told otherwise, one rule (three in a row) and one webhook ``hook``.

    Each alert is a group of its own that waits for nothing and is not repeated, and of the built-in rules those that
    watch canaries are off, unless ``sections`` say otherwise.
    """
    off = {"TargetRejected": {"enabled": False}, "NoData": {"enabled": False}}
    rules = {**off, **sections.pop("rules", {"Errors": THREE_IN_A_ROW})}
    alone: dict[str, Any] = {"group_by": ["alert", "canary"], "group_wait": 0, "repeat_interval": "90d"}
    return AlertsConfig.model_validate({"rules": rules, "receivers": {"hook": a_hook()}, **alone, **sections})


def a_page(*incidents: Incident, action: Action = Action.TRIGGER, now: float = NOON + 120) -> Page:
    """Render the page of a group of ``incidents``."""
    opened = min(incident.opened for incident in incidents)
    notice = Notice(
        id="notice",
        receiver="hook",
        group="group",
        action=action,
        labels={"alert": incidents[0].rule},
        opened=opened,
        number=1,
        members=incidents,
        total=len(incidents),
        created=now,
        next_try=now,
    )
    return render_notice(notice)


class World:
    """An engine, and a ledger that holds the rows of its steps: :meth:`crash` goes on from the ledger alone."""

    def __init__(self, config: AlertsConfig | None = None, *canaries: Canary) -> None:
        self.ledger: dict[Table, dict[str, bytes]] = {table: {} for table in TABLES}
        self.state = State()
        self.now = NOON
        self.runs = 0
        self.rows: tuple[Row, ...] = ()
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
        check_step(self.engine, self.config, before, input, self.state, self.now)
        for row in self.rows:
            if row.value is None:
                self.ledger[row.table].pop(row.key, None)  # it may have come and gone in one step
            else:
                self.ledger[row.table][row.key] = row.value

    def pass_a_minute(self) -> None:
        """Let a minute pass, as the daemon sees it."""
        for _ in range(4):
            self.now += 15
            self.step(Tick())

    def crash(self) -> None:
        """Lose everything but the ledger."""
        self.state, unread = read_state(self.ledger)
        assert unread == []

    def see(self, *runs: Any) -> None:
        """Let runs happen, one each 30 s: outcomes, or functions from a number to an outcome."""
        for run in runs:
            self.now = NOON + 30 * self.runs + 2
            self.step(Ran(run(self.runs) if callable(run) else run))
            self.runs += 1

    def begin(self, receiver: str = "hook") -> Notice | None:
        """Begin a try of what ``receiver`` gets next, if that is due; return what is sent."""
        notice = notification_queue.next_notice(self.state, receiver, self.now)
        if notice is None or notification_queue.seconds_until(notice, self.now) > 0:
            return None
        self.step(Trying(notice.id))
        return self.state.notices[notice.id]

    def deliver(self, receiver: str = "hook", answer: Answer | None = None) -> Notice | None:
        """Send what ``receiver`` gets next, if that is due; return what was sent."""
        notice = self.begin(receiver)
        if notice is not None:
            self.step(Answered(notice.id, answer or Accepted(), 0.0))
        return notice

    def deliver_all(self, *receivers: str) -> list[tuple[str, str]]:
        """Send everything that is due, and return action and rule of each."""
        sent = []
        for receiver in receivers or ("hook",):
            while notice := self.deliver(receiver):
                sent.append((notice.action.value, notice.members[0].rule))
        return sent

    @property
    def firing(self) -> list[Incident]:
        """The incidents that are open."""
        return [incident for incident in self.state.incidents.values() if incident.firing]
