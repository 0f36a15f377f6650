"""Rules that are there without being written. They page, and are routed like any other.

A rule of the same name in ``alerts.rules`` changes what it sets, and leaves the rest; ``enabled: false`` switches it
off.
"""

import difflib
from collections.abc import Iterator, Mapping
from typing import Final

from streamcanary.alerting.detectors import Consecutive, NoData
from streamcanary.alerting.rules import Measure, Rule
from streamcanary.model.config_types.config_issue import ConfigIssue
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

RESOLVE_CONDITIONS: Final = {
    CANARY_EGRESS_DOWN: "a run that reaches any provider",
    BUDGET_EXHAUSTED: "a paid run: after midnight UTC, or with a larger budget",
    RECEIVER_FAILING: "a notification that it accepts",
    STORE_FAILING: "the store, written again",
}
"""What resolves the alerts about the daemon itself, in words."""

_LABELS: Final = {"severity": "page"}

BUILTIN_RULES: Final[dict[str, Rule]] = {
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

DAEMON_RULES: Final = frozenset({CANARY_EGRESS_DOWN, BUDGET_EXHAUSTED, RECEIVER_FAILING, STORE_FAILING})
"""Those about a part of the daemon. The others watch canaries; their match, measure and detector can be set."""

DAEMON_RULE_FIELDS: Final = frozenset({"labels", "annotations", "enabled"})
"""What can be changed of those."""


_SAMPLE_FIELDS: Final = frozenset({"measure", "limit", "blame"})
_SIMILARITY_CUTOFF: Final = 0.8  # part of the letters that two names have in common


def with_builtin_rules(rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """Return all rules by name: the built-in ones, changed as ``rules`` say, and then the other ``rules``."""
    book = {name: _override(rule, rules.get(name)) for name, rule in BUILTIN_RULES.items()}
    return {**book, **{name: rule for name, rule in rules.items() if name not in BUILTIN_RULES}}


def override_errors(rules: Mapping[str, Rule]) -> Iterator[ConfigIssue]:
    """Yield what ``rules`` may not change of the built-in ones, and which of them seem to mean one; by path below."""
    for name, rule in rules.items():
        if name in DAEMON_RULES:
            for field in sorted(rule.model_fields_set - DAEMON_RULE_FIELDS):
                yield ConfigIssue(
                    (name, field), f"means nothing for the built-in {name}; set {', '.join(sorted(DAEMON_RULE_FIELDS))}"
                )
        elif name == NO_DATA:
            yield from _no_data_errors(rule)
        elif name == TARGET_REJECTED:
            yield from _target_rejected_errors(rule)
        elif (near := closest_builtin(name)) and (
            _normalize(name) == _normalize(near) or rule.model_fields_set <= DAEMON_RULE_FIELDS
        ):
            yield ConfigIssue(
                (name,), f"no built-in rule has this name, and it says nothing of its own; did you mean {near}?"
            )


def closest_builtin(name: str) -> str | None:
    """Return the built-in rule that a rule called ``name`` may mean; ``None`` if it has a name of its own.

    One that is there with something added, such as ``NoDataEurope``, is a name of its own.
    """
    folded = {_normalize(known): known for known in BUILTIN_RULES}
    near = difflib.get_close_matches(_normalize(name), folded, n=1, cutoff=_SIMILARITY_CUTOFF)
    if not near or (near[0] in _normalize(name) and near[0] != _normalize(name)):
        return None
    return folded[near[0]]


def _normalize(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold()


def _no_data_errors(rule: Rule) -> Iterator[ConfigIssue]:
    if "detector" in rule.model_fields_set and not isinstance(rule.detector, NoData):
        message = f"the built-in {NO_DATA} takes no other than no_data, such as {{type: no_data, runs: 5}}"
        yield ConfigIssue((NO_DATA, "detector"), f"{message}; give a rule with another one a name of its own")
    for field in sorted(_SAMPLE_FIELDS & rule.model_fields_set):
        yield ConfigIssue((NO_DATA, field), f"means nothing for the built-in {NO_DATA}; remove it")


def _target_rejected_errors(rule: Rule) -> Iterator[ConfigIssue]:
    """Yield what would make another rule of it: it mutes other alerts, as it says what only its reader can mend."""
    own = f"give a rule with another one a name of its own: {TARGET_REJECTED} mutes what it explains"
    default = BUILTIN_RULES[TARGET_REJECTED]
    if isinstance(rule.detector, NoData):
        yield ConfigIssue((TARGET_REJECTED, "detector"), f"must be one that looks at runs, and not no_data; {own}")
    for field in sorted(_SAMPLE_FIELDS & rule.model_fields_set):
        if getattr(rule, field) != getattr(default, field):
            is_now = "[config]" if field == "blame" else getattr(default, field) or "not set"
            yield ConfigIssue((TARGET_REJECTED, field), f"is {is_now} for the built-in {TARGET_REJECTED}; {own}")


def _override(default: Rule, change: Rule | None) -> Rule:
    if change is None:
        return default
    update = {name: getattr(change, name) for name in change.model_fields_set}
    for name in ("labels", "annotations"):
        update[name] = {**getattr(default, name), **getattr(change, name)}
    return default.model_copy(update=update)
