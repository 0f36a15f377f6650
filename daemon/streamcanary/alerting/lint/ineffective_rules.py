"""Finds rules that cannot fire.

``slow`` without an ``slo``, a ``limit`` above the timeout of the canary, or the speed of an answer that is too short.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import NamedTuple

from streamcanary.alerting.lint.matchers import join_names
from streamcanary.alerting.measures import Measure
from streamcanary.alerting.rules import Rule
from streamcanary.model.config_types.config_issue import ConfigIssue
from streamcanary.model.config_types.duration import format_duration


class CanaryLimits(NamedTuple):
    """Whether a run of a canary can be slow, and the largest value in seconds of each timed measure.

    ``short_answer`` says why its answer is too short for an output speed; empty if it need not be.
    """

    has_slo: bool
    max_seconds: Mapping[str, float]
    short_answer: str = ""


class IneffectiveRule(NamedTuple):
    """Why a rule cannot fire for some canaries, or for all of its canaries; the path starts below ``alerts``."""

    issue: ConfigIssue
    is_ineffective_everywhere: bool


def ineffective_rules(
    rules: Mapping[str, Rule], canaries_by_rule: Mapping[str, Sequence[str]], limits: Mapping[str, CanaryLimits]
) -> Iterator[IneffectiveRule]:
    """Yield the rules that cannot fire for some of their canaries in ``canaries_by_rule``, given their ``limits``."""
    for name, rule in rules.items():
        canaries = canaries_by_rule[name]
        if rule.measure is Measure.SLOW:
            affected = [canary for canary in canaries if not limits[canary].has_slo]
            message = "no slo, so no run is ever slow; add one, such as slo: {first_token: 2s}"
            found = (
                ConfigIssue(("rules", name, "measure"), f"{join_names(affected, 3)}: {message}") if affected else None
            )
        elif rule.measure is Measure.TOKENS_PER_SECOND:
            affected = [canary for canary in canaries if limits[canary].short_answer]
            found = (
                ConfigIssue(("rules", name, "measure"), _short_answer_message(affected, limits)) if affected else None
            )
        elif rule.limit is not None:
            affected = [
                canary for canary in canaries if rule.limit >= limits[canary].max_seconds.get(rule.measure, inf)
            ]
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
        f"{format_duration(limit)} is never exceeded: the timeouts end runs of {join_names(affected, 3)} after "
        f"{format_duration(least)}; write less than that"
    )


def _short_answer_message(affected: Sequence[str], limits: Mapping[str, CanaryLimits]) -> str:
    reason = limits[affected[0]].short_answer
    return f"{join_names(affected, 3)}: no output speed can be measured, because {reason}; ask for a longer answer"
