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
from streamcanary.alerting.engine.step import ASLEEP, Engine
from streamcanary.alerting.notify.message import rfc3339
from streamcanary.alerting.testing.replay import Replay, Told
from streamcanary.model.alerts.incident import Action, Incident
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome

MOST_ALERTS: Final = 10_000
"""How many alerts a report spells out; further ones are counted."""

MOST_GAPS: Final = 1000
"""How many gaps it spells out."""

_DUE = 3  # runs of one canary without any of another, after which the daemon was not there


class Episode(Struct, frozen=True, kw_only=True):
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

    def document(self) -> dict[str, Any]:
        """Return it as plain data, with times in words."""
        resolved = None if self.resolved is None else rfc3339(self.resolved)
        return {**msgspec.structs.asdict(self), "fired": rfc3339(self.fired), "resolved": resolved}


class RuleSum(Struct):
    """What one rule came to: how often it fired, for how many seconds in all, and in how many pages it was named."""

    fires: int = 0
    seconds: float = 0.0
    pages: int = 0


class ReceiverSum(Struct):
    """What one receiver would have got: pages, updates of pages, and resolves.

    To a receiver that groups alerts itself (Alertmanager) these are single alerts.
    """

    pages: int = 0
    updates: int = 0
    resolves: int = 0


class Report(Struct, kw_only=True):
    """What became of it. ``alerts`` are in the order in which they fired; ``omitted`` more of them are only counted.

    ``runs`` were replayed; ``foreign`` further ones are of canaries that the configuration does not have. ``gaps`` are
    times (from, until) without the daemon. Times are seconds since the epoch; ``None`` if there was no run.
    """

    start: float | None = None
    end: float | None = None
    runs: int = 0
    foreign: int = 0
    gaps: list[tuple[float, float]] = field(default_factory=list)
    alerts: list[Episode] = field(default_factory=list)
    omitted: int = 0
    rules: dict[str, RuleSum] = field(default_factory=dict)
    receivers: dict[str, ReceiverSum] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return it as plain data, with times in words."""
        return {
            "from": None if self.start is None else rfc3339(self.start),
            "until": None if self.end is None else rfc3339(self.end),
            "runs": self.runs,
            "foreign": self.foreign,
            "gaps": [{"from": rfc3339(start), "until": rfc3339(end)} for start, end in self.gaps],
            "alerts": [alert.document() for alert in self.alerts],
            "omitted": self.omitted,
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
        self._wait = config.group_wait
        self._replay: Replay | None = None
        self._open: dict[str, Incident] = {}
        self._report = Report(
            rules={
                name: RuleSum()
                for name, rule in config.rulebook.items()
                if rule.enabled and name not in (RECEIVER_FAILING, STORE_FAILING)
            },
            receivers={name: ReceiverSum() for name in config.receivers},
        )

    def see(self, outcome: Outcome) -> None:
        """Take the next run."""
        reported = outcome.started >= self._since
        if outcome.canary not in self._canaries:
            self._report.foreign += reported
            return
        at = outcome.started + outcome.duration
        if self._report.start is None and reported:
            self._report.start = outcome.started
        if self._replay is None:
            self._replay = Replay(self._engine, at, changed=self._changed, told=self._told)
        elif at > self._replay.now + ASLEEP and at > (blind := self._blind(self._replay.now)):
            if len(self._report.gaps) < MOST_GAPS and at >= self._since:
                self._report.gaps.append((max(self._replay.now, self._since), at))
            self._replay.advance(min(self._replay.now + self._wait, blind))
            self._replay.leap(at)
        self._report.runs += reported
        self._replay.see(outcome)

    def finish(self) -> Report:
        """Return what became of it, after what was still waiting to be told has been."""
        report = self._report
        if self._replay is not None and report.start is not None:
            report.end = self._replay.now
            self._replay.leap(report.end + max(self._wait, ASLEEP + 1))  # what waits is told, and no run is missed
            for incident in self._open.values():
                self._add(incident, report.end)
            self._open = {}
        report.alerts.sort(key=lambda episode: (episode.fired, episode.alert, episode.subject))
        return report

    def _blind(self, now: float) -> float:
        """Return until when nothing may come after ``now`` in a daemon that runs (seconds since the epoch)."""
        return min(canary.nth_after(now, _DUE) + canary.timeout for canary in self._canaries.values())

    def _changed(self, incident: Incident) -> None:
        known = self._open.pop(incident.key, None)
        if incident.firing:
            self._open[incident.key] = incident
            self._report.rules[incident.rule].fires += incident.opened >= self._since
        elif known is not None:
            self._add(incident, incident.resolved or incident.opened)

    def _add(self, incident: Incident, end: float) -> None:
        if end < self._since:
            return
        seconds = max(0.0, end - max(incident.opened, self._since))
        self._report.rules[incident.rule].seconds += seconds
        if len(self._report.alerts) >= MOST_ALERTS:
            self._report.omitted += 1
            return
        evidence = incident.evidence
        self._report.alerts.append(
            Episode(
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
                reason=incident.reason,
            )
        )

    def _told(self, told: Told) -> None:
        if told.at < self._since:
            return
        receiver = self._report.receivers[told.receiver]
        match told.action:
            case Action.TRIGGER:
                receiver.pages += 1
                for rule in told.rules:
                    self._report.rules[rule].pages += 1
            case Action.UPDATE:
                receiver.updates += 1
            case Action.RESOLVE:
                receiver.resolves += 1


def backtest(
    config: AlertsConfig,
    instance: str,
    canaries: Sequence[Canary],
    outcomes: Iterable[Outcome],
    since: float = -math.inf,
) -> Report:
    """Return what ``outcomes``, in the order in which they ended, would have led to from ``since`` on."""
    test = Backtest(config, instance, canaries, since)
    for outcome in outcomes:
        test.see(outcome)
    return test.finish()
