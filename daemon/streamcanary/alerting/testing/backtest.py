"""Replays recorded runs through the rules of a configuration and reports the alerts and notifications.

A recording does not say when the daemon was running. If no canary has a recorded run for a time in which one was due
three times, the backtest assumes that the daemon was not running: then no run counts as missing, as after a start.
Silences are ignored, because a backtest evaluates the rules. Maintenance windows of the configuration apply.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from streamcanary.alerting.builtin_rules import RECEIVER_FAILING, RELOAD_FAILED, STORE_FAILING
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.step import MAX_TICK_GAP, Engine
from streamcanary.alerting.notify.message import rfc3339
from streamcanary.alerting.scope import scope_values
from streamcanary.alerting.testing.outages import OutageAlert, PastOutage, past_outages
from streamcanary.alerting.testing.replay import Replay, ReplayedNotification
from streamcanary.model.alerts.incident import Action, Incident
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome
from streamcanary.model.status.alert_history import PastIncident

MAX_ALERTS: Final = 10_000
"""The number of alerts that a report lists; others are only counted."""

MAX_GAPS: Final = 1000
"""The number of gaps that a report lists."""

_MISSED_RUNS_FOR_GAP = 3  # due runs of one canary, without a run of any canary, that make a gap


class BacktestAlert(Struct, frozen=True, kw_only=True):
    """One alert from firing to resolve, or to the end of the recording (``resolved`` is then ``None``).

    ``bad`` of ``total`` samples are its evidence. Times are seconds since the epoch. ``seconds`` is how long it fired
    within the reported period.
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
        """Return the alert as plain data, with times in RFC 3339."""
        resolved = None if self.resolved is None else rfc3339(self.resolved)
        return {**msgspec.structs.asdict(self), "fired": rfc3339(self.fired), "resolved": resolved}


class RuleTotals(Struct):
    """Totals of one rule: how often it fired, for how many seconds, and how many pages named it."""

    fires: int = 0
    seconds: float = 0.0
    pages: int = 0


class ReceiverTotals(Struct):
    """Notifications that one receiver would have got: triggers (``pages``), updates and resolves.

    For a state receiver (Alertmanager) these count single alerts, because it groups alerts itself.
    """

    pages: int = 0
    updates: int = 0
    resolves: int = 0


class BacktestReport(Struct, kw_only=True):
    """The result of a backtest. ``alerts`` are in the order in which they fired.

    ``omitted_alerts`` more alerts are only counted. ``runs`` were replayed; ``unknown_canary_runs`` were not, because
    the configuration does not have their canaries. ``gaps`` are the periods (from, until) without the daemon. Times are
    seconds since the epoch, or ``None`` if there was no run. ``outages`` are what the listed alerts are about, with the
    delay of each rule.
    """

    start: float | None = None
    end: float | None = None
    runs: int = 0
    unknown_canary_runs: int = 0
    gaps: list[tuple[float, float]] = field(default_factory=list)
    alerts: list[BacktestAlert] = field(default_factory=list)
    omitted_alerts: int = 0
    outages: list[PastOutage] = field(default_factory=list)
    rules: dict[str, RuleTotals] = field(default_factory=dict)
    receivers: dict[str, ReceiverTotals] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data, with times in RFC 3339."""
        return {
            "from": None if self.start is None else rfc3339(self.start),
            "until": None if self.end is None else rfc3339(self.end),
            "runs": self.runs,
            "foreign": self.unknown_canary_runs,
            "gaps": [{"from": rfc3339(start), "until": rfc3339(end)} for start, end in self.gaps],
            "alerts": [alert.to_dict() for alert in self.alerts],
            "omitted": self.omitted_alerts,
            "outages": [outage.to_dict() for outage in self.outages],
            "rules": msgspec.to_builtins(self.rules),
            "receivers": msgspec.to_builtins(self.receivers),
        }


class Backtest:
    """Replays runs one by one, in the order in which they ended; :meth:`finish` returns the report.

    Runs before ``since`` (seconds since the epoch) feed the detectors and are not reported. ``recorded`` are alerts of
    the daemon, whose outages are reported, too.
    """

    def __init__(
        self,
        config: AlertsConfig,
        instance: str,
        canaries: Sequence[Canary],
        since: float = -math.inf,
        recorded: Sequence[PastIncident] = (),
    ) -> None:
        self._since = since
        self._recorded = recorded
        self._rules = config.all_rules
        self._canaries = {canary.name: canary for canary in canaries}
        self._engine = Engine(config, instance, canaries)
        self._group_wait = config.group_wait
        self._replay: Replay | None = None
        self._open_incidents: dict[str, Incident] = {}
        self._outage_alerts: list[OutageAlert] = []
        self._members: dict[tuple[str, str], frozenset[str]] = {}
        self._watching: dict[str, frozenset[str]] = {}
        for name, rule in config.all_rules.items():
            if not rule.measure.counts_failures:
                continue
            for value in scope_values(rule, canaries):
                names = frozenset(canary.name for canary in value.canaries)
                self._members[name, value.subject] = names
                self._watching[name] = self._watching.get(name, frozenset()) | names
        self._report = BacktestReport(
            rules={
                name: RuleTotals()
                for name, rule in config.all_rules.items()
                if rule.enabled and name not in (RECEIVER_FAILING, STORE_FAILING, RELOAD_FAILED)
            },
            receivers={name: ReceiverTotals() for name in config.receivers},
        )

    def observe(self, outcome: Outcome) -> None:
        """Replay the next run."""
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
        """Send the notifications that are still pending, and return the report."""
        report = self._report
        if self._replay is not None and report.start is not None:
            report.end = self._replay.now
            # pending notifications are sent, and no run counts as missing
            self._replay.skip_to(report.end + max(self._group_wait, MAX_TICK_GAP + 1))
            for incident in self._open_incidents.values():
                self._add_alert(incident, incident, report.end)
            self._open_incidents = {}
            self._add_recorded(report.start, report.end)
        report.outages = past_outages(self._outage_alerts, self._watching)
        report.alerts.sort(key=lambda alert: (alert.fired, alert.alert, alert.subject))
        return report

    def _gap_threshold(self, now: float) -> float:
        """Return the time (seconds since the epoch) after which a lack of runs since ``now`` is a gap."""
        return min(
            canary.nth_run_after(now, _MISSED_RUNS_FOR_GAP) + canary.timeout for canary in self._canaries.values()
        )

    def _on_incident_change(self, incident: Incident) -> None:
        open_incident = self._open_incidents.pop(incident.key, None)
        if incident.is_firing:
            self._open_incidents[incident.key] = incident
            self._report.rules[incident.rule].fires += incident.opened >= self._since
        elif open_incident is not None:
            self._add_alert(incident, open_incident, incident.resolved or incident.opened)

    def _add_alert(self, incident: Incident, opening: Incident, end: float) -> None:
        """Add the alert of ``incident``, which was ``opening`` when it fired, until ``end``."""
        if end < self._since:
            return
        seconds = max(0.0, end - max(incident.opened, self._since))
        self._report.rules[incident.rule].seconds += seconds
        if len(self._report.alerts) >= MAX_ALERTS:
            self._report.omitted_alerts += 1
            return
        evidence = incident.evidence
        self._add_outage_alert(incident, opening, end)
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

    def _add_outage_alert(self, incident: Incident, opening: Incident, end: float) -> None:
        """Add an alert about runs to those of the outages."""
        members = self._members.get((incident.rule, incident.subject), frozenset())
        if not members:
            return
        counted = (*opening.evidence.failing, *incident.evidence.failing)
        since = opening.evidence.since
        self._outage_alerts.append(
            OutageAlert(
                rule=incident.rule,
                canaries=members,
                targets=self._targets_of(members),
                failing=tuple(each.name for each in counted if each.name in members)
                if incident.scope
                else tuple(members),
                began=incident.opened if since is None else min(since, incident.opened),
                fired=incident.opened,
                end=end,
            )
        )

    def _add_recorded(self, start: float, end: float) -> None:
        """Add the alerts of the daemon in the reported period; one of no configured canary is about nothing."""
        for past in self._recorded:
            rule = self._rules.get(past.rule)
            if not start <= past.opened <= end or (rule is not None and not rule.measure.counts_failures):
                continue
            failing = tuple(name for name in past.canaries if name in self._canaries)
            if members := self._members.get((past.rule, past.subject), frozenset(failing)):
                self._outage_alerts.append(
                    OutageAlert(
                        rule=past.rule,
                        canaries=members,
                        targets=self._targets_of(members),
                        failing=failing,
                        began=min(past.since, past.opened),
                        fired=past.opened,
                        end=min(past.resolved or end, end),
                        is_recorded=True,
                    )
                )

    def _targets_of(self, names: Iterable[str]) -> frozenset[str]:
        return frozenset(self._canaries[name].target for name in names)

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
    recorded: Sequence[PastIncident] = (),
) -> BacktestReport:
    """Return the report of ``outcomes``, in the order in which they ended, from ``since`` (epoch seconds) on.

    ``recorded`` are alerts of the daemon, whose outages are reported, too.
    """
    backtest = Backtest(config, instance, canaries, since, recorded)
    for outcome in outcomes:
        backtest.observe(outcome)
    return backtest.finish()
