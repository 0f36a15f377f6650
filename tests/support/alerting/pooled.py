"""A harness of canaries whose evidence is pooled."""

from collections.abc import Sequence
from typing import Any

import msgspec

from streamcanary.alerting.engine.inputs import RunFinished, Tick
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.canary import Canary
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import OutcomeKind
from support.alerting.builders import EngineHarness, a_fault, a_run, alerts

THREE_IN_A_ROW: dict[str, Any] = {
    "detector": {"type": "consecutive", "failures": 3},
    "per": ["canary", "target"],
    "labels": {"severity": "page"},
}


def fleet(names: str, target: str = "openai", **changes: Any) -> tuple[Canary, ...]:
    """Return a canary of ``target`` for each letter of ``names``."""
    return tuple(
        Canary(**{"name": name, "target": target, "provider": target, "host": name, "interval": 30.0, **changes})
        for name in names
    )


class PooledHarness(EngineHarness):
    """Runs an engine with the rule ``Errors`` for some canaries; the runs of a round are written as letters."""

    def __init__(
        self,
        canaries: Sequence[Canary] = fleet("abcd"),
        rule: dict[str, Any] | None = None,
        *,
        rules_on: bool = False,
        **sections: Any,
    ) -> None:
        built_in = {"TargetRejected": {}} if rules_on else {}
        sections = {"group_by": ["alert"], "group_wait": 10, "group_interval": 60, **sections}
        super().__init__(alerts(rules={**built_in, "Errors": rule or THREE_IN_A_ROW}, **sections), *canaries)

    def run(self, name: str, *, bad: bool, kind: FaultKind = FaultKind.STALLED) -> None:
        """Process a run of canary ``name`` that ends now."""
        canary = self.engine.bindings.canaries[name]
        outcome = a_run(
            self.run_count,
            OutcomeKind.FAILED if bad else OutcomeKind.OK,
            a_fault(kind) if bad else None,
            started=self.now - 1,
            duration=0.5,
        )
        self.run_count += 1
        self.step(
            RunFinished(msgspec.structs.replace(outcome, canary=name, target=canary.target, provider=canary.provider))
        )

    def rounds(self, *written: str, kind: FaultKind = FaultKind.STALLED) -> None:
        """Process rounds of runs, 30 s apart: of each letter a run of that canary, a failed one of a capital letter."""
        for round_of_runs in written:
            self.wait(30)
            for letter in round_of_runs:
                self.run(letter.lower(), bad=letter.isupper(), kind=kind)

    def wait(self, seconds: float) -> None:
        """Let time pass, with a tick every 5 s at most."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + 5)
            self.step(Tick())

    def firing(self) -> list[str]:
        """Return the subjects of the open incidents."""
        return sorted(incident.subject for incident in self.open_incidents)

    def the_incident(self, subject: str) -> Incident:
        """Return the incident of ``subject``, open or not."""
        (found,) = [incident for incident in self.state.incidents.values() if incident.subject == subject]
        return found

    def notified(self, receiver: str = "hook") -> list[tuple[str, list[str]]]:
        """Deliver what is due to ``receiver``; return the action and the subjects of each notification."""
        sent = []
        while notification := self.deliver(receiver):
            sent.append((notification.action.value, [member.subject for member in notification.members]))
        return sent
