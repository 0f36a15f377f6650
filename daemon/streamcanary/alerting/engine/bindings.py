"""Which rule looks at which canary, under which key: the configuration, made ready to be looked up."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from streamcanary.alerting.builtin_rules import (
    ABOUT_US,
    BUDGET_EXHAUSTED,
    CANARY_EGRESS_DOWN,
    ENDS,
    NO_DATA,
    RECEIVER_FAILING,
    STORE_FAILING,
    TARGET_REJECTED,
)
from streamcanary.alerting.detectors import Judge, NoData
from streamcanary.alerting.engine.keys import incident_key
from streamcanary.alerting.rules import Rule
from streamcanary.model.alerts.incident import Evidence, Incident
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.secret import scrub

SLACK = 5.0
"""Seconds by which a run may be late without being missed."""


def alert_labels(name: str, rule: Rule, canary: Canary, instance: str) -> dict[str, str]:
    """Return the labels of the alert that ``rule``, called ``name``, raises for ``canary``."""
    return {**canary.label_set(), **rule.labels, "alertname": name, "instance": instance}


class Pair(NamedTuple):
    """A rule, and a canary that it watches; ``key`` is that of their incident and their detector.

    It either has a ``judge`` of samples, or, if that is ``None``, fires at ``runs`` runs that are missing.
    """

    key: str
    name: str
    rule: Rule
    canary: Canary
    judge: Judge | None
    runs: int
    ends: str

    def missing(self, seen: float, now: float) -> int:
        """Return how many runs since ``seen`` are missing at ``now`` if these are enough to fire, else 0.

        Times are seconds since the epoch.
        """
        due = self.canary.nth_after(seen, self.runs)
        return self.runs if now >= due + self.canary.timeout + SLACK else 0


class Pairs:
    """All pairs of one configuration, by key.

    ``canaries`` are by name, ``identities`` are their names in keys. ``explaining`` has, by the key of an incident, the
    keys of those that may explain it.
    """

    def __init__(
        self, rules: Mapping[str, Rule], instance: str, canaries: Sequence[Canary], receivers: Iterable[str] = ()
    ) -> None:
        self._instance = instance
        self._receivers = tuple(receivers)
        self._rules = rules
        self.canaries = {canary.name: canary for canary in canaries}
        self.identities = frozenset(canary.identity for canary in canaries)
        self._pairs: dict[str, Pair] = {}
        self._sampled: dict[str, list[Pair]] = {}
        self._expected: dict[str, list[Pair]] = {}
        self.explaining: dict[str, tuple[str, ...]] = {}
        for name, rule in rules.items():
            for canary in canaries:
                if name not in ABOUT_US and rule.watches(canary):
                    self._add(name, rule, canary)
        self.all_expected = tuple(pair for pairs in self._expected.values() for pair in pairs)

    def key(self, rule: str, subject: str) -> str:
        """Return the key of the incident of ``rule`` about ``subject``; a name from before a renaming stays."""
        told = self._rules.get(rule)
        canary = None if rule in ABOUT_US else self.canaries.get(subject)
        former = (told and told.renamed_from) or rule
        return incident_key(self._instance, former, canary.identity if canary else subject)

    def names(self, incident: Incident) -> tuple[str, str]:
        """Return the names of the rule and the subject of ``incident`` as keys have them."""
        told = self._rules.get(incident.rule)
        canary = None if incident.rule in ABOUT_US else self.canaries.get(incident.subject)
        return (told and told.renamed_from) or incident.rule, canary.identity if canary else incident.subject

    def own(self) -> Iterator[tuple[str, str]]:
        """Return the alerts about the daemon that there can be: the name of the rule, and what it is about."""
        yield CANARY_EGRESS_DOWN, "egress"
        yield BUDGET_EXHAUSTED, "budget"
        yield STORE_FAILING, "store"
        for name in self._receivers:
            yield RECEIVER_FAILING, name

    def incident(self, pair: Pair, at: float, evidence: Evidence) -> Incident:
        """Return the incident that ``pair`` opens ``at`` that time (seconds since the epoch)."""
        canary = pair.canary
        return Incident(
            key=pair.key,
            rule=pair.name,
            subject=canary.name,
            canary=canary.name,
            labels=alert_labels(pair.name, pair.rule, canary, self._instance),
            annotations=pair.rule.annotations,
            opened=at,
            evidence=evidence,
            resolves=pair.ends,
        )

    def ours(self, rule: str, subject: str, message: str, now: float) -> Incident:
        """Return an incident of a built-in rule about a part of the daemon, opened ``now`` (epoch seconds)."""
        told = self._rules[rule]
        return Incident(
            key=self.key(rule, subject),
            rule=rule,
            subject=subject,
            labels={**told.labels, "subject": subject, "alertname": rule, "instance": self._instance},
            annotations=told.annotations,
            opened=now,
            evidence=Evidence(message=scrub(message, limit=300)),
            resolves=ENDS[rule],
        )

    def sampled(self, canary: str) -> Sequence[Pair]:
        """Return the pairs that look at the samples of ``canary``."""
        return self._sampled.get(canary, ())

    def expected(self, canary: str) -> Sequence[Pair]:
        """Return the pairs that look whether ``canary`` is heard of at all."""
        return self._expected.get(canary, ())

    def get(self, key: str) -> Pair | None:
        """Return the pair of ``key``; ``None`` if there is none."""
        return self._pairs.get(key)

    def __contains__(self, key: object) -> bool:
        return key in self._pairs

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs.values())

    def _add(self, name: str, rule: Rule, canary: Canary) -> None:
        key, detector = self.key(name, canary.name), rule.detector
        if isinstance(detector, NoData):
            pair = Pair(key, name, rule, canary, None, detector.runs, detector.ends)
        else:
            judge = detector.for_canary(canary)
            pair = Pair(key, name, rule, canary, judge, 0, judge.ends)
        self._pairs[pair.key] = pair
        (self._sampled if pair.judge else self._expected).setdefault(canary.name, []).append(pair)
        if name == NO_DATA:
            self.explaining[pair.key] = (self.key(BUDGET_EXHAUSTED, "budget"),)
        elif name != TARGET_REJECTED:
            self.explaining[pair.key] = (
                self.key(CANARY_EGRESS_DOWN, "egress"),
                self.key(TARGET_REJECTED, canary.name),
            )
