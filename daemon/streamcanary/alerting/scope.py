"""Scopes: over which canaries the evidence of a rule is pooled."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from streamcanary.alerting.detectors import SampleStream
from streamcanary.alerting.learning.baseline import LearnedBaseline, LearnedValues
from streamcanary.alerting.rules import Rule
from streamcanary.model.canary import Canary
from streamcanary.model.schedule import Pooled, SampleSchedule

CANARY: Final = "canary"
"""The scope of a rule that evaluates each canary by itself."""


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
        return self.canaries[0] if self.scope == CANARY else None

    @property
    def subject(self) -> str:
        """The name of the scope value in alerts and messages."""
        return self.value if self.scope == CANARY else f"{self.scope} {self.value}"

    @property
    def schedule(self) -> SampleSchedule:
        """When samples are due."""
        if len(self.canaries) == 1:
            return self.canaries[0].schedule
        return Pooled(1 / sum(1 / canary.interval for canary in self.canaries), len(self.canaries))

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


def scope_values(rule: Rule, canaries: Iterable[Canary]) -> list[ScopeValue]:
    """Return the scope values of ``rule``: one for each alert that it may have."""
    return [ScopeValue(CANARY, canary.name, (canary,)) for canary in canaries if rule.applies_to(canary)]
