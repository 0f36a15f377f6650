"""Runs of canaries through the alert engine, until it has a notification."""

from collections.abc import Iterable
from typing import Any, Final

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.inputs import DiagnosisFinished, Input, RunFinished, SendFinished, SendStarted, Tick
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.notify.delivery.result import Accepted
from streamcanary.model.alerts.incident import Notification, NotificationState
from streamcanary.model.canary import Canary
from streamcanary.model.faults import Blame, Fault, FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind

START: Final = 1_800_007_200.0
"""2027-01-15 10:00:00 UTC, in seconds since the epoch."""

EVERY: Final = 30.0
"""Seconds between two runs of a canary."""

_RULES: Final[dict[str, Any]] = {
    "LLMErrorSpike": {
        "detector": {"type": "consecutive", "failures": 5},
        "labels": {"severity": "page"},
        "annotations": {"runbook_url": "https://runbooks.example.com/{alert}"},
    }
}


def canary(name: str, *, target: str = "openai", host: str = "api.openai.com") -> Canary:
    """Return a canary of a production tier."""
    return Canary(
        name=name, target=target, provider=target, interval=EVERY, timeout=24, host=host, labels={"tier": "prod"}
    )


def fault(kind: FaultKind, message: str, *, status: int | None = None, blame: Blame | None = None) -> Fault:
    """Return a fault with the message of a provider."""
    return make_fault(kind, Phase.STREAM, message, status=status, blame=blame)


class Outage:
    """An alert engine with ``rules`` and ``canaries``, whose clock begins at :data:`START`."""

    def __init__(self, *names: str, rules: dict[str, Any] | None = None, canaries: Iterable[Canary] = ()) -> None:
        self.config = AlertsConfig.model_validate(
            {
                "rules": {"NoData": {"enabled": False}, **(_RULES if rules is None else rules)},
                "receivers": {"oncall": {"type": "pagerduty", "routing_key": "0" * 32}},
                "external_url": "https://canary.example.com",
                "trace_url": "https://traces.example.com/trace/{trace_id}",
            }
        )
        self.canaries = {one.name: one for one in (*map(canary, names), *canaries)}
        self.engine = Engine(self.config, "production", list(self.canaries.values()))
        self.state, self.now = State(), START
        self._runs = 0

    def step(self, input: Input) -> None:  # noqa: A002 - as in the engine
        """Step the engine."""
        self.state, _ = self.engine.step(self.state, input, self.now)

    def run(self, name: str, error: Fault | None = None, **changes: Any) -> None:
        """Let a run of the canary ``name`` end now, with three attempts that failed with ``error``, or well."""
        self._runs += 1
        one = self.canaries[name]
        attempts = tuple(
            Attempt(
                number=number,
                route="primary",
                started=self.now - 9 + 3 * number,
                duration=2.5,
                fault=error,
                request_id=None if error is None else f"req_{self._runs:04d}{number}",
            )
            for number in range(1, 4 if error else 2)
        )
        values: dict[str, Any] = {
            "run_id": f"run-{self._runs}",
            "canary": name,
            "target": one.target,
            "provider": one.provider,
            "kind": OutcomeKind.FAILED if error else OutcomeKind.OK,
            "scheduled": self.now - 9,
            "started": self.now - 9,
            "duration": 9.0,
            "fault": error,
            "attempts": attempts,
            "trace_id": f"{self._runs:08x}" * 4,
        }
        self.step(RunFinished(Outcome(**{**values, **changes})))

    def rounds(self, count: int, errors: dict[str, Fault | None], **changes: Any) -> None:
        """Let each canary run ``count`` times, one round every 30 s; those in ``errors`` fail with that fault."""
        for _ in range(count):
            for name in self.canaries:
                error = errors.get(name)
                self.run(name, error, **(changes if error is not None else {}))
            self.wait(EVERY)

    def wait(self, seconds: float) -> None:
        """Let time pass, with a tick every 5 seconds."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 5)
            self.step(Tick())

    def diagnose(self, name: str, text: str) -> None:
        """Add the diagnosis that follows the first failure of a canary."""
        self.step(DiagnosisFinished(name, text))

    def accept(self) -> None:
        """Let the receiver accept all pending notifications."""
        for notification in self.pending:
            self.step(SendStarted(notification.id))
            self.step(SendFinished(notification.id, Accepted(), 0.0))

    @property
    def pending(self) -> list[Notification]:
        """The pending notifications, the oldest first."""
        pending = (one for one in self.state.notifications.values() if one.state is NotificationState.PENDING)
        return sorted(pending, key=lambda one: one.sequence)

    @property
    def notification(self) -> Notification:
        """The first pending notification."""
        return self.pending[0]
