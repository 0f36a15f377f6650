"""Rules that look at what a canary can never show: slowness without an ``slo``, a time that a timeout cuts short."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from streamcanary.alerting.lint.matchers import join_names
from streamcanary.alerting.rules import Measure, Rule
from streamcanary.model.config_types.config_issue import ConfigIssue
from streamcanary.model.config_types.duration import format_duration


class CanaryLimits(NamedTuple):
    """What the runs of a canary can show: whether one can be slow, and how long its times (seconds) can be at most."""

    has_slo: bool
    max_seconds: Mapping[str, float]


class IneffectiveRule(NamedTuple):
    """Why a rule looks in vain at some canaries, by path below ``alerts``; ``wholly`` if it watches no others."""

    issue: ConfigIssue
    is_ineffective_everywhere: bool


def ineffective_rules(
    rules: Mapping[str, Rule], canaries_by_rule: Mapping[str, Sequence[str]], limits: Mapping[str, CanaryLimits]
) -> Iterator[IneffectiveRule]:
    """Yield which of ``rules`` can never fire; ``watched`` has the canaries of each, ``bounds`` what these can show."""
    for name, rule in rules.items():
        canaries = canaries_by_rule[name]
        if rule.measure is Measure.SLOW:
            affected = [canary for canary in canaries if not limits[canary].has_slo]
            message = "no slo, so no run is ever slow; give them one, such as slo: {first_token: 2s}"
            found = (
                ConfigIssue(("rules", name, "measure"), f"{join_names(affected, 3)}: {message}") if affected else None
            )
        elif rule.limit is not None:
            affected = [canary for canary in canaries if rule.limit >= limits[canary].max_seconds[rule.measure]]
            found = (
                ConfigIssue(("rules", name, "limit"), _limit_message(rule, rule.limit, affected, limits))
                if affected
                else None
            )
        else:
            continue
        if found is not None:
            yield IneffectiveRule(found, is_ineffective_everywhere=len(affected) == len(canaries))


def _limit_message(rule: Rule, limit: float, affected: Sequence[str], limits: Mapping[str, CanaryLimits]) -> str:
    least = min(limits[canary].max_seconds[rule.measure] for canary in affected)
    return (
        f"{format_duration(limit)} is never exceeded: {join_names(affected, 3)} would have failed by then, after "
        f"{format_duration(least)} by their timeouts; write less than that"
    )
