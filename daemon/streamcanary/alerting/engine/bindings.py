"""Bindings of rules to scope values, indexed by incident key and by canary."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import msgspec
from msgspec import Struct

from streamcanary.alerting.builtin_rules import (
    BEHIND_SCHEDULE,
    BUDGET_EXHAUSTED,
    CANARY_EGRESS_DOWN,
    DAEMON_RULES,
    RECEIVER_FAILING,
    RELOAD_FAILED,
    RESOLVE_CONDITIONS,
    STORE_FAILING,
)
from streamcanary.alerting.detectors import Cusum, NoData, Shift, Spike, StreamDetector
from streamcanary.alerting.detectors.base import SampleStream
from streamcanary.alerting.detectors.shift import NORMAL_PART
from streamcanary.alerting.engine.evaluation.members import NORMAL_RATE
from streamcanary.alerting.engine.grouping.inhibition import Inhibition
from streamcanary.alerting.engine.keys import incident_key
from streamcanary.alerting.learning.baseline import LearnedBaseline, LearnedRate, LearnedValues
from streamcanary.alerting.notify.impact_text import NO_DATA
from streamcanary.alerting.rules import Rule
from streamcanary.alerting.scope import ScopeValue, alert_labels, scope_values
from streamcanary.model.alerts.incident import Evidence, Incident
from streamcanary.model.canary import Canary
from streamcanary.model.redaction.redactor import scrub

MISSED_RUN_GRACE = 5.0
"""Seconds by which a run may be late before it counts as missing."""


class BoundRule(Struct, frozen=True):
    """What bindings of one rule have in common if their samples come alike: with 10,000 canaries, there are few."""

    name: str
    rule: Rule
    detector: StreamDetector | None
    missing_runs_to_fire: int
    resolve_condition: str
    baseline: LearnedBaseline | None = None
    normal: float = NORMAL_RATE


class Binding(Struct, frozen=True, gc=False):  # seven for each canary, so they are small
    """A rule and a scope value that it watches. ``key`` is the key of their incident and of their detector state.

    It has either a ``detector`` of samples or, if that is ``None``, fires at ``missing_runs_to_fire`` missing runs. If
    the detector learns, ``baseline`` is what it has learned; ``None`` if that is nothing yet. ``normal`` is the rate of
    failures of a canary that is normal, from 0 to 1.
    """

    key: str
    scope_value: ScopeValue
    bound: BoundRule

    @property
    def rule_name(self) -> str:
        """The name of the rule."""
        return self.bound.name

    @property
    def rule(self) -> Rule:
        """The rule."""
        return self.bound.rule

    @property
    def detector(self) -> StreamDetector | None:
        """The detector of samples, or ``None``."""
        return self.bound.detector

    @property
    def missing_runs_to_fire(self) -> int:
        """The missing runs at which it fires; 0 with a detector of samples."""
        return self.bound.missing_runs_to_fire

    @property
    def resolve_condition(self) -> str:
        """What resolves the alert, as text."""
        return self.bound.resolve_condition

    @property
    def baseline(self) -> LearnedBaseline | None:
        """What was learned; ``None`` if that is nothing yet."""
        return self.bound.baseline

    @property
    def normal(self) -> float:
        """The rate of failures of a canary that is normal, from 0 to 1."""
        return self.bound.normal

    @property
    def learns(self) -> bool:
        """Whether the detector depends on what is learned from recorded runs."""
        return self.rule.detector.learns and self.rule.measure.counts_failures

    @property
    def canaries(self) -> tuple[Canary, ...]:
        """The canaries whose runs it evaluates."""
        return self.scope_value.canaries

    @property
    def is_wide(self) -> bool:
        """Whether the samples of several canaries are pooled."""
        return self.scope_value.is_wide

    def resolve_condition_after(self, state: object) -> str:
        """Return what resolves the alert that fires with the detector ``state``, as text."""
        detector = self.detector
        return detector.resolve_condition_after(state) if isinstance(detector, Cusum) else self.resolve_condition

    def learned_limit(self, canary: Canary, at: float) -> float | None:
        """Return the learned limit of ``canary`` at a time (seconds since the epoch); ``None`` if there is none."""
        return self.baseline.limit(canary.identity, at) if isinstance(self.baseline, LearnedValues) else None

    def missing_runs(self, last_seen: float, now: float) -> int:
        """Return the number of runs that are missing at ``now`` since ``last_seen`` if it is enough to fire, else 0.

        Times are seconds since the epoch.
        """
        [canary] = self.canaries
        due = canary.nth_run_after(last_seen, self.missing_runs_to_fire)
        return self.missing_runs_to_fire if now >= due + canary.timeout + MISSED_RUN_GRACE else 0


class Bindings:
    """All bindings of one configuration, by key.

    ``canaries`` are by name, ``identities`` are their names in keys. ``inhibition`` says by which incidents each
    incident may be inhibited. ``former_keys``, by the names of rule and subject, are used in place of those that these
    names give: see :mod:`streamcanary.alerting.engine.former_keys`.
    """

    def __init__(
        self,
        rules: Mapping[str, Rule],
        instance: str,
        canaries: Sequence[Canary],
        receivers: Iterable[str] = (),
        former_keys: Mapping[tuple[str, str], str] = MappingProxyType({}),
    ) -> None:
        self._instance = instance
        self._former_keys = former_keys
        self._receivers = tuple(receivers)
        self._rules = rules
        self.canaries = {canary.name: canary for canary in canaries}
        self.identities = frozenset(canary.identity for canary in canaries)
        self._bindings: dict[str, Binding] = {}
        self._bound: dict[tuple[str, SampleStream], BoundRule] = {}
        self._with_baselines: dict[str, Binding] = {}
        shared: dict[tuple[str, float], ScopeValue] = {}
        for name, rule in rules.items():
            values = [] if name in DAEMON_RULES else scope_values(rule, canaries)
            # the widest first: of alerts that open at the same run, it is the one that is notified
            for value in sorted(values, key=lambda value: -len(value.canaries)):
                of_one = value if value.is_wide else shared.setdefault((value.value, value.share), value)
                self._add(name, rule, of_one)
        self._sample_bindings = _by_canary(binding for binding in self if binding.detector)
        self._no_data_bindings = _by_canary(binding for binding in self if not binding.detector)
        self.inhibition = Inhibition(self._bindings, instance, self.key_for)
        self.all_no_data_bindings = tuple(
            binding for bindings in self._no_data_bindings.values() for binding in bindings
        )
        self.learning = tuple(binding for binding in self if binding.learns)

    def key_for(self, rule: str, subject: str) -> str:
        """Return the key of the incident of ``rule`` for ``subject``. Former names are used for what was renamed."""
        if (former := self._former_keys.get((rule, subject))) is not None:
            return former
        configured = self._rules.get(rule)
        canary = None if rule in DAEMON_RULES else self.canaries.get(subject)
        key_name = (configured and configured.renamed_from) or rule
        return incident_key(self._instance, key_name, canary.identity if canary else subject)

    def key_parts(self, incident: Incident) -> tuple[str, str]:
        """Return the names of the rule and the subject of ``incident`` as they are in keys."""
        configured = self._rules.get(incident.rule)
        canary = None if incident.rule in DAEMON_RULES else self.canaries.get(incident.subject)
        return (
            configured and configured.renamed_from
        ) or incident.rule, canary.identity if canary else incident.subject

    def daemon_alerts(self) -> Iterator[tuple[str, str]]:
        """Yield the possible alerts about the daemon as pairs of rule name and subject."""
        yield CANARY_EGRESS_DOWN, "egress"
        yield BUDGET_EXHAUSTED, "budget"
        yield STORE_FAILING, "store"
        yield RELOAD_FAILED, "config"
        yield BEHIND_SCHEDULE, "schedule"
        for name in self._receivers:
            yield RECEIVER_FAILING, name

    def incident_of(self, binding: Binding, at: float, evidence: Evidence, detector_state: object = None) -> Incident:
        """Return the incident of ``binding``, opened at ``at`` (seconds since the epoch) with ``detector_state``."""
        value = binding.scope_value
        return Incident(
            key=binding.key,
            rule=binding.rule_name,
            subject=value.subject,
            canary=value.canary.name if value.canary else None,
            scope=value.scope if value.is_wide else "",
            member_count=len(value.canaries) if value.is_wide else 0,
            labels=alert_labels(binding.rule_name, binding.rule, value.labels, self._instance),
            annotations=binding.rule.annotations,
            opened=at,
            evidence=evidence,
            resolve_condition=binding.resolve_condition_after(detector_state),
            measure=binding.rule.measure.value if binding.detector is not None else NO_DATA,
        )

    def daemon_incident(self, rule: str, subject: str, message: str, now: float) -> Incident:
        """Return the incident of a built-in rule about a part of the daemon, opened at ``now`` (epoch seconds)."""
        configured = self._rules[rule]
        return Incident(
            key=self.key_for(rule, subject),
            rule=rule,
            subject=subject,
            labels={**configured.labels, "subject": subject, "alertname": rule, "instance": self._instance},
            annotations=configured.annotations,
            opened=now,
            evidence=Evidence(message=scrub(message, limit=300)),
            resolve_condition=RESOLVE_CONDITIONS[rule],
        )

    def sample_bindings(self, canary: str) -> Sequence[Binding]:
        """Return the bindings that evaluate the samples of ``canary``."""
        return self._sample_bindings.get(canary, ())

    def no_data_bindings(self, canary: str) -> Sequence[Binding]:
        """Return the bindings that detect missing runs of ``canary``."""
        return self._no_data_bindings.get(canary, ())

    def get(self, key: str) -> Binding | None:
        """Return the binding of ``key``; ``None`` if there is none."""
        return self._bindings.get(key)

    def learns(self, key: str) -> bool:
        """Return whether the detector of the binding of ``key`` depends on what is learned from recorded runs."""
        binding = self._bindings.get(key)
        return binding is not None and binding.learns

    @property
    def learning_canaries(self) -> tuple[Canary, ...]:
        """The canaries of the bindings that learn."""
        return tuple({canary.name: canary for binding in self.learning for canary in binding.canaries}.values())

    def with_baseline(self, binding: Binding, baselines: Mapping[str, object]) -> Binding:
        """Return ``binding`` with the detector for its baseline, of the table ``baselines``; itself if it has none.

        The last result for each binding is kept. A baseline for which the detector has no threshold is not used.
        """
        if not binding.learns:
            return binding
        baseline = baselines.get(binding.key)
        if not isinstance(baseline, (LearnedRate, LearnedValues)) or isinstance(binding.rule.detector, NoData):
            return binding
        known = self._with_baselines.get(binding.key)
        if known is not None and known.baseline is baseline:
            return known
        detector: StreamDetector | None
        stream = binding.scope_value.stream(baseline)
        try:
            detector = binding.rule.detector.for_stream(stream)
        except ValueError:  # such as a base rate too close to the rate to detect: `check` says so
            detector = binding.detector
        bound = msgspec.structs.replace(
            binding.bound, baseline=baseline, detector=detector, normal=_normal_rate(binding.rule, stream)
        )
        if detector is not None:
            bound = msgspec.structs.replace(bound, resolve_condition=detector.resolve_condition)
        learned = msgspec.structs.replace(binding, bound=bound)
        self._with_baselines[binding.key] = learned
        return learned

    def __contains__(self, key: object) -> bool:
        return key in self._bindings

    def __len__(self) -> int:
        return len(self._bindings)

    def __iter__(self) -> Iterator[Binding]:
        return iter(self._bindings.values())

    def _add(self, name: str, rule: Rule, scope_value: ScopeValue) -> None:
        key_name = rule.renamed_from or name
        key = self._former_keys.get((name, scope_value.subject))
        key = key or incident_key(self._instance, key_name, scope_value.key_subject)
        stream = scope_value.stream()
        alike = name, stream._replace(subject="")  # which is in messages about the configuration only
        if alike not in self._bound:
            self._bound[alike] = _bound_rule(name, rule, stream)
        self._bindings[key] = Binding(key, scope_value, self._bound[alike])


def _bound_rule(name: str, rule: Rule, stream: SampleStream) -> BoundRule:
    detector = rule.detector
    if isinstance(detector, NoData):
        return BoundRule(name, rule, None, detector.runs, detector.resolve_condition)
    of_stream = detector.for_stream(stream)
    return BoundRule(name, rule, of_stream, 0, of_stream.resolve_condition, normal=_normal_rate(rule, stream))


def _by_canary(bindings: Iterable[Binding]) -> dict[str, tuple[Binding, ...]]:
    found: dict[str, list[Binding]] = {}
    for binding in bindings:
        for canary in binding.canaries:
            found.setdefault(canary.name, []).append(binding)
    return {name: tuple(some) for name, some in found.items()}


def _normal_rate(rule: Rule, stream: SampleStream) -> float:
    """Return the rate of failures of ``stream`` that is normal: what ``spike`` has, and the quantile of ``shift``."""
    detector = rule.detector
    if isinstance(detector, Spike):
        return detector.normal_of(stream)
    return NORMAL_PART if isinstance(detector, Shift) else NORMAL_RATE
