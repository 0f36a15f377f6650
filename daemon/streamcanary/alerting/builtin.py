"""Rules that are there without being written. They page, and are routed like any other.

A rule of the same name in ``alerts.rules`` changes what it sets, and leaves the rest; ``enabled: false`` switches it
off.
"""

from collections.abc import Mapping
from typing import Final

from streamcanary.alerting.detectors import Consecutive, NoData
from streamcanary.alerting.rules import Measure, Rule
from streamcanary.model.faults import Blame

CANARY_EGRESS_DOWN: Final = "CanaryEgressDown"
"""Two or more hosts cannot be reached and none can: it is the way out, not the providers. Explains what fails then."""
TARGET_REJECTED: Final = "TargetRejected"
"""A target refuses what it is asked: key, permission, model, request. Explains what else that canary shows."""
BUDGET_EXHAUSTED: Final = "BudgetExhausted"
"""The budget of the day is spent, and canaries no longer run. Explains ``NoData``."""
NO_DATA: Final = "NoData"
"""A canary was not heard of for three of its runs."""
RECEIVER_FAILING: Final = "ReceiverFailing"
"""A receiver refuses what it is sent, or takes nothing for minutes; told to the others, over when it accepts again."""
STORE_FAILING: Final = "StoreFailing"
"""The store cannot be written; pages go out from memory, at least once, until it can."""

ENDS: Final = {
    CANARY_EGRESS_DOWN: "a run that reaches any provider",
    BUDGET_EXHAUSTED: "a paid run: after midnight UTC, or with a larger budget",
    RECEIVER_FAILING: "a notification that it accepts",
    STORE_FAILING: "the store, written again",
}
"""What resolves the alerts about the daemon itself, in words."""

_LABELS: Final = {"severity": "page"}

BUILTIN: Final[dict[str, Rule]] = {
    CANARY_EGRESS_DOWN: Rule(
        labels=_LABELS,
        annotations={
            "summary": "No provider can be reached from here",
            "description": "It is this daemon's way out, rather than the providers: {message}",
        },
    ),
    TARGET_REJECTED: Rule(
        measure=Measure.ERRORS,
        blame=(Blame.CONFIG,),
        detector=Consecutive(type="consecutive", failures=2),
        labels=_LABELS,
        annotations={
            "summary": "{target} rejects what {canary} asks: {faults}",
            "description": "Nobody but you can mend this: {message}",
        },
    ),
    BUDGET_EXHAUSTED: Rule(
        labels=_LABELS,
        annotations={
            "summary": "The canaries' budget is spent, they no longer run",
            "description": "Outages are not seen until it is renewed: {message}",
        },
    ),
    NO_DATA: Rule(
        detector=NoData(type="no_data"),
        labels=_LABELS,
        annotations={
            "summary": "{canary} has not been heard of since {since}",
            "description": "Nobody knows how {target} is: {message}",
        },
    ),
    RECEIVER_FAILING: Rule(
        labels=_LABELS,
        annotations={
            "summary": "Notifications to {subject} do not arrive",
            "description": "{subject} refuses them, or does not answer; they are kept, and tried again: {message}",
        },
    ),
    STORE_FAILING: Rule(
        labels=_LABELS,
        annotations={
            "summary": "The store cannot be written",
            "description": "State is kept in memory, and pages may come twice after a crash: {message}",
        },
    ),
}
"""What each is by default, by name."""

ABOUT_US: Final = frozenset({CANARY_EGRESS_DOWN, BUDGET_EXHAUSTED, RECEIVER_FAILING, STORE_FAILING})
"""Those about a part of the daemon. The others watch canaries; their match, measure and detector can be set."""

TOLD: Final = frozenset({"labels", "annotations", "enabled"})
"""What can be changed of those."""


def rulebook(rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """Return all rules by name: the built-in ones, changed as ``rules`` say, and then the other ``rules``."""
    book = {name: _changed(rule, rules.get(name)) for name, rule in BUILTIN.items()}
    return {**book, **{name: rule for name, rule in rules.items() if name not in BUILTIN}}


def _changed(default: Rule, change: Rule | None) -> Rule:
    if change is None:
        return default
    update = {name: getattr(change, name) for name in change.model_fields_set}
    for name in ("labels", "annotations"):
        update[name] = {**getattr(default, name), **getattr(change, name)}
    return default.model_copy(update=update)
