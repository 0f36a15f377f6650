"""Which alerts recorded runs would have led to under a configuration, and who would have been told.

A recording does not say when the daemon ran. A time in which no canary at all left anything, although one was due three
times, is taken to be one in which it did not: nothing is missed then, as after a start. Silences are left out, as it is
the rules that are judged; maintenance, which the configuration has, is not.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from streamcanary.alerting.builtin_rules import RECEIVER_FAILING, STORE_FAILING
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.step import MAX_TICK_GAP, Engine
from streamcanary.alerting.notify.message import rfc3339
from streamcanary.alerting.testing.replay import Replay, ReplayedNotification
from streamcanary.model.alerts.incident import Action, Incident
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome

MAX_ALERTS: Final = 10_000
"""How many alerts a report spells out; further ones are counted."""

MAX_GAPS: Final = 1000
"""How many gaps it spells out."""

_MISSED_RUNS_FOR_GAP = 3  # runs of one canary without any of another, after which the daemon was not there


class BacktestAlert(Struct, frozen=True, kw_only=True):
    """One alert from its beginning to its end, or to that of the recording (``resolved`` is ``None`` then).

    It was seen by ``bad`` of ``total`` samples. Times are seconds since the epoch, ``seconds`` is how long it fired in
    the time that is reported.
    """

    alert: str
    subject: str
    labels: dict[str, str]
    fired: float
    resolved: float | None
    seconds: float
    bad: int
    total: int
    faults: dict[str, int]
    message: str
    reason: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, with times in words."""
        resolved = None if self.resolved is None else rfc3339(self.resolved)
        return {**msgspec.structs.asdict(self), "fired": rfc3339(self.fired), "resolved": resolved}


class RuleTotals(Struct):
    """What one rule came to: how often it fired, for how many seconds in all, and in how many pages it was named."""

    fires: int = 0
    seconds: float = 0.0
    pages: int = 0


class ReceiverTotals(Struct):
    """What one receiver would have got: pages, updates of pages, and resolves.

    To a receiver that groups alerts itself (Alertmanager) these are single alerts.
    """

    pages: int = 0
    updates: int = 0
    resolves: int = 0


class BacktestReport(Struct, kw_only=True):
    """What became of it. ``alerts`` are in the order in which they fired; ``omitted`` more of them are only counted.

    ``runs`` were replayed; ``foreign`` further ones are of canaries that the configuration does not have. ``gaps`` are
    times (from, until) without the daemon. Times are seconds since the epoch; ``None`` if there was no run.
    """

    start: float | None = None
    end: float | None = None
    runs: int = 0
    unknown_canary_runs: int = 0
    gaps: list[tuple[float, float]] = field(default_factory=list)
    alerts: list[BacktestAlert] = field(default_factory=list)
    omitted_alerts: int = 0
    rules: dict[str, RuleTotals] = field(default_factory=dict)
    receivers: dict[str, ReceiverTotals] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, with times in words."""
        return {
            "from": None if self.start is None else rfc3339(self.start),
            "until": None if self.end is None else rfc3339(self.end),
            "runs": self.runs,
            "foreign": self.unknown_canary_runs,
            "gaps": [{"from": rfc3339(start), "until": rfc3339(end)} for start, end in self.gaps],
            "alerts": [alert.to_dict() for alert in self.alerts],
            "omitted": self.omitted_alerts,
            "rules": msgspec.to_builtins(self.rules),
            "receivers": msgspec.to_builtins(self.receivers),
        }


class Backtest:
    """Takes runs in the order in which they ended, one by one; :meth:`finish` returns the report.

    Runs from before ``since`` (seconds since the epoch) are what the rules know then, and not reported.
    """

    def __init__(
        self, config: AlertsConfig, instance: str, canaries: Sequence[Canary], since: float = -math.inf
    ) -> None:
        self._since = since
        self._canaries = {canary.name: canary for canary in canaries}
        self._engine = Engine(config, instance, canaries)
        self._group_wait = config.group_wait
        self._replay: Replay | None = None
        self._open_incidents: dict[str, Incident] = {}
        self._report = BacktestReport(
            rules={
                name: RuleTotals()
                for name, rule in config.all_rules.items()
                if rule.enabled and name not in (RECEIVER_FAILING, STORE_FAILING)
            },
            receivers={name: ReceiverTotals() for name in config.receivers},
        )

    def observe(self, outcome: Outcome) -> None:
        """Take the next run."""
        is_reported = outcome.started >= self._since
        if outcome.canary not in self._canaries:
            self._report.unknown_canary_runs += is_reported
            return
        at = outcome.started + outcome.duration
        if self._report.start is None and is_reported:
            self._report.start = outcome.started
        if self._replay is None:
            self._replay = Replay(
                self._engine, at, on_incident_change=self._on_incident_change, on_notification=self._on_notification
            )
        elif at > self._replay.now + MAX_TICK_GAP and at > (gap_threshold := self._gap_threshold(self._replay.now)):
            if len(self._report.gaps) < MAX_GAPS and at >= self._since:
                self._report.gaps.append((max(self._replay.now, self._since), at))
            self._replay.advance(min(self._replay.now + self._group_wait, gap_threshold))
            self._replay.skip_to(at)
        self._report.runs += is_reported
        self._replay.observe(outcome)

    def finish(self) -> BacktestReport:
        """Return what became of it, after what was still waiting to be told has been."""
        report = self._report
        if self._replay is not None and report.start is not None:
            report.end = self._replay.now
            self._replay.skip_to(
                report.end + max(self._group_wait, MAX_TICK_GAP + 1)
            )  # what waits is told, and no run is missed
            for incident in self._open_incidents.values():
                self._add_alert(incident, report.end)
            self._open_incidents = {}
        report.alerts.sort(key=lambda episode: (episode.fired, episode.alert, episode.subject))
        return report

    def _gap_threshold(self, now: float) -> float:
        """Return until when nothing may come after ``now`` in a daemon that runs (seconds since the epoch)."""
        return min(
            canary.nth_run_after(now, _MISSED_RUNS_FOR_GAP) + canary.timeout for canary in self._canaries.values()
        )

    def _on_incident_change(self, incident: Incident) -> None:
        known = self._open_incidents.pop(incident.key, None)
        if incident.is_firing:
            self._open_incidents[incident.key] = incident
            self._report.rules[incident.rule].fires += incident.opened >= self._since
        elif known is not None:
            self._add_alert(incident, incident.resolved or incident.opened)

    def _add_alert(self, incident: Incident, end: float) -> None:
        if end < self._since:
            return
        seconds = max(0.0, end - max(incident.opened, self._since))
        self._report.rules[incident.rule].seconds += seconds
        if len(self._report.alerts) >= MAX_ALERTS:
            self._report.omitted_alerts += 1
            return
        evidence = incident.evidence
        self._report.alerts.append(
            BacktestAlert(
                alert=incident.rule,
                subject=incident.subject,
                labels=incident.labels,
                fired=incident.opened,
                resolved=incident.resolved,
                seconds=seconds,
                bad=evidence.bad,
                total=evidence.total,
                faults=evidence.faults,
                message=evidence.message,
                reason=incident.resolve_reason,
            )
        )

    def _on_notification(self, notification: ReplayedNotification) -> None:
        if notification.at < self._since:
            return
        receiver = self._report.receivers[notification.receiver]
        match notification.action:
            case Action.TRIGGER:
                receiver.pages += 1
                for rule in notification.rules:
                    self._report.rules[rule].pages += 1
            case Action.UPDATE:
                receiver.updates += 1
            case Action.RESOLVE:
                receiver.resolves += 1


def run_backtest(
    config: AlertsConfig,
    instance: str,
    canaries: Sequence[Canary],
    outcomes: Iterable[Outcome],
    since: float = -math.inf,
) -> BacktestReport:
    """Return what ``outcomes``, in the order in which they ended, would have led to from ``since`` on."""
    test = Backtest(config, instance, canaries, since)
    for outcome in outcomes:
        test.observe(outcome)
    return test.finish()
