"""Scopes: over which canaries the evidence of a rule is pooled.

A rule has one alert for each value of each of its scopes (``per``): with ``per: [canary, target]`` one for each canary,
and one for each target, which evaluates the runs of all its canaries together, in the order in which they end.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from streamcanary.alerting.detectors import SampleStream
from streamcanary.alerting.learning.baseline import LearnedBaseline, LearnedValues
from streamcanary.alerting.lint.matchers import suggest_label
from streamcanary.alerting.rules import CANARY_SCOPE, Rule
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.config_issue import ConfigIssue
from streamcanary.model.schedules.schedule import Pooled, SampleSchedule

ALL: Final = "all"
"""The scope that pools all canaries of a rule."""

MODEL: Final = "model"
"""The scope that pools the canaries that request the same model."""

_SCOPES: Final = dict.fromkeys((CANARY_SCOPE, "target", "provider", MODEL, ALL), "")


class ScopeValue(NamedTuple):
    """The canaries whose samples one alert of a rule evaluates: those with ``value`` of ``scope``.

    ``share`` is the part of the budget of false pages of the rule that this alert may use.
    """

    scope: str
    value: str
    canaries: tuple[Canary, ...]
    share: float = 1.0

    @property
    def canary(self) -> Canary | None:
        """The canary of the scope ``canary``; ``None`` for a wider scope."""
        return None if self.is_wide else self.canaries[0]

    @property
    def is_wide(self) -> bool:
        """Whether the samples of several canaries are pooled, as opposed to the scope ``canary``."""
        return self.scope != CANARY_SCOPE

    @property
    def subject(self) -> str:
        """The name in alerts and messages: ``chat-mini``, ``target openai`` or ``all canaries``."""
        if not self.is_wide:
            return self.value
        return "all canaries" if self.scope == ALL else f"{self.scope} {self.value}"

    @property
    def key_subject(self) -> str:
        """The name in keys of alerts: that of the canary before it was renamed, or scope and value."""
        return f"{self.scope}={self.value}" if self.is_wide else self.canaries[0].identity

    @property
    def schedule(self) -> SampleSchedule:
        """When samples are due."""
        if len(self.canaries) == 1:
            return self.canaries[0].schedule
        return Pooled(1 / sum(1 / canary.interval for canary in self.canaries), len(self.canaries))

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the alert: those of the canary, or those that all canaries share, and ``scope``."""
        if not self.is_wide:
            return self.canaries[0].label_set()
        first, *others = [canary.label_set() for canary in self.canaries]
        shared = {name: value for name, value in first.items() if all(each.get(name) == value for each in others)}
        shared.pop(CANARY_SCOPE, None)  # also with one canary: the labels then stay when there are more
        own = {} if self.scope == ALL else {self.scope: self.value}
        return {**shared, **own, "scope": self.scope}

    def stream(self, baseline: LearnedBaseline | None = None) -> SampleStream:
        """Return the stream of the samples of these canaries, with the ``baseline`` that was learned about them."""
        stream = SampleStream(self.subject, self.schedule, self.share)
        if baseline is None:
            return stream
        rate = baseline.above if isinstance(baseline, LearnedValues) else baseline
        return stream._replace(
            autocorrelation=rate.usable_autocorrelation,
            base_rate=rate.usable_rate,
            quantiles=baseline.quantiles if isinstance(baseline, LearnedValues) else None,
        )


def alert_labels(name: str, rule: Rule, labels: Mapping[str, str], instance: str) -> dict[str, str]:
    """Return the labels of the alert of ``rule``, named ``name``, for a canary or a scope value with ``labels``."""
    return {**labels, **rule.labels, "alertname": name, "instance": instance}


def scope_values(rule: Rule, canaries: Iterable[Canary]) -> list[ScopeValue]:
    """Return the scope values of ``rule``, one for each alert that it may have.

    Values of the same canaries would be the same alert, so that only one of them is kept: see :func:`left_out`. The
    budget of false pages is divided equally by the scopes with a value, and in a scope equally by its values.
    """
    bound = [canary for canary in canaries if rule.applies_to(canary)]
    by_scope: dict[str, list[ScopeValue]] = {}
    for value, _ in _values_and_equals(rule.per, bound):
        if value is not None:
            by_scope.setdefault(value.scope, []).append(value)
    return [value._replace(share=1 / (len(by_scope) * len(values))) for values in by_scope.values() for value in values]


def left_out(rule: Rule, canaries: Iterable[Canary]) -> list[tuple[ScopeValue, ScopeValue]]:
    """Return the scope values of ``rule`` that are left out, each with the one that has the same canaries."""
    bound = [canary for canary in canaries if rule.applies_to(canary)]
    return [equal for _, equal in _values_and_equals(rule.per, bound) if equal is not None]


def scope_errors(rule: Rule, canaries: Iterable[Canary]) -> Iterator[ConfigIssue]:
    """Yield an error for each scope of ``rule`` that none of its canaries has; paths start below the rule."""
    bound = [canary for canary in canaries if rule.applies_to(canary)]
    for number, scope in enumerate(rule.per if bound else ()):
        if not any(value_in_scope(canary, scope) for canary in bound):
            known: list[Mapping[str, str]] = [_SCOPES, *(canary.labels for canary in bound)]
            message = f"no canary of this rule has {scope}"
            if scope not in _SCOPES:
                message = f"no canary of this rule has the label {scope}; {suggest_label(scope, known)}"
            yield ConfigIssue(("per", number) if len(rule.per) > 1 else ("per",), message)


def _values_and_equals(
    per: Sequence[str], canaries: Sequence[Canary]
) -> Iterator[tuple[ScopeValue | None, tuple[ScopeValue, ScopeValue] | None]]:
    """Yield each scope value that is kept, or the one that is left out with the one of the same canaries.

    ``canary`` comes first, because an alert of one canary is about that canary; the others are in the order of ``per``.
    """
    kept: dict[tuple[str, ...], ScopeValue] = {}
    for scope in sorted(per, key=lambda scope: scope != CANARY_SCOPE):
        members: dict[str, list[Canary]] = {}
        for canary in canaries:
            if value := value_in_scope(canary, scope):
                members.setdefault(value, []).append(canary)
        for value, some in members.items():
            new, names = ScopeValue(scope, value, tuple(some)), tuple(canary.name for canary in some)
            if (equal := kept.setdefault(names, new)) is new:
                yield new, None
            else:
                yield None, (new, equal)


def value_in_scope(canary: Canary, scope: str) -> str:
    """Return the value of ``scope`` for ``canary``; empty if it has none."""
    match scope:
        case "canary":
            return canary.name
        case "target":
            return canary.target
        case "provider":
            return canary.provider
        case "model":
            return canary.model
        case "all":
            return ALL
        case _:
            return canary.labels.get(scope, "")
