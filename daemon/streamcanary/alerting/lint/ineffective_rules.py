"""Rules that look at what a canary can never show: slowness without an ``slo``, a time that a timeout cuts short."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from streamcanary.alerting.lint.matchers import some
from streamcanary.alerting.rules import Measure, Rule
from streamcanary.model.config_types.config_issue import Misfit
from streamcanary.model.config_types.duration import format_duration


class Bounds(NamedTuple):
    """What the runs of a canary can show: whether one can be slow, and how long its times (seconds) can be at most."""

    has_slo: bool
    times: Mapping[str, float]


class Idle(NamedTuple):
    """Why a rule looks in vain at some canaries, by path below ``alerts``; ``wholly`` if it watches no others."""

    misfit: Misfit
    wholly: bool


def idle(
    rules: Mapping[str, Rule], watched: Mapping[str, Sequence[str]], bounds: Mapping[str, Bounds]
) -> Iterator[Idle]:
    """Yield which of ``rules`` can never fire; ``watched`` has the canaries of each, ``bounds`` what these can show."""
    for name, rule in rules.items():
        canaries = watched[name]
        if rule.measure is Measure.SLOW:
            vain = [canary for canary in canaries if not bounds[canary].has_slo]
            message = "no slo, so no run is ever slow; give them one, such as slo: {first_token: 2s}"
            found = Misfit(("rules", name, "measure"), f"{some(vain, 3)}: {message}") if vain else None
        elif rule.limit is not None:
            vain = [canary for canary in canaries if rule.limit >= bounds[canary].times[rule.measure]]
            found = Misfit(("rules", name, "limit"), _cut_short(rule, rule.limit, vain, bounds)) if vain else None
        else:
            continue
        if found is not None:
            yield Idle(found, wholly=len(vain) == len(canaries))


def _cut_short(rule: Rule, limit: float, vain: Sequence[str], bounds: Mapping[str, Bounds]) -> str:
    least = min(bounds[canary].times[rule.measure] for canary in vain)
    return (
        f"{format_duration(limit)} is never exceeded: {some(vain, 3)} would have failed by then, after "
        f"{format_duration(least)} by their timeouts; write less than that"
    )
