"""Built-in rules. They have ``severity: page`` unless noted, and are routed like any other rule.

A rule of the same name in ``alerts.rules`` overrides the fields that it sets. ``enabled: false`` disables the rule.
"""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from streamcanary.alerting.detectors import Consecutive, NoData
from streamcanary.alerting.measures import Measure
from streamcanary.alerting.rules import Rule
from streamcanary.model.config_types.config_issue import ConfigIssue
from streamcanary.model.faults import Blame

CANARY_EGRESS_DOWN: Final = "CanaryEgressDown"
"""Two or more hosts are unreachable, and none is reachable: the outbound network of the daemon is down.

Inhibits the alerts of canaries that fail because of it.
"""
TARGET_REJECTED: Final = "TargetRejected"
"""A target rejects the key, permission, model or request of a canary. Inhibits the other alerts of that canary."""
BUDGET_EXHAUSTED: Final = "BudgetExhausted"
"""The daily budget is spent, and canaries no longer run. Inhibits ``NoData``."""
NO_DATA: Final = "NoData"
"""A canary reported no result for three of its runs."""
RECEIVER_FAILING: Final = "ReceiverFailing"
"""A receiver refuses a notification, or accepts none for minutes. The other receivers are notified.

Resolves when the receiver accepts a notification again.
"""
STORE_FAILING: Final = "StoreFailing"
"""The store cannot be written. Until it can, notifications are sent from memory, at least once."""
RELOAD_FAILED: Final = "ReloadFailed"
"""The configuration file was changed, and cannot be applied; ``severity: ticket``. The daemon runs with the former one.

A restart would fail, too, or apply what a reload cannot.
"""
BEHIND_SCHEDULE: Final = "BehindSchedule"
"""The daemon has been too slow to make all runs on time for two minutes, and skips a part of them.

Inhibits ``NoData``. Resolves when no run was late or skipped for two minutes.
"""
CERTIFICATE_EXPIRING: Final = "CertificateExpiring"
"""A certificate of an endpoint expires within 14 days; ``severity: ticket``. ``limit`` sets another time.

It resolves slowly: while one of several servers still has the old certificate, the runs see now this one, now that.
"""
CERTIFICATE_EXPIRING_SOON: Final = "CertificateExpiringSoon"
"""The same within 3 days, with ``severity: page``: nobody has renewed it since the ticket."""
CERTIFICATE_RULES: Final = frozenset({CERTIFICATE_EXPIRING, CERTIFICATE_EXPIRING_SOON})
"""The built-in rules about certificates."""
MODEL_CHANGED: Final = "ModelChanged"
"""Another model answers a canary than at the run before. Off by default, with ``severity: ticket``.

Resolves after ten answers in a row of one model: then the change is how it is from now on.
"""

RESOLVE_CONDITIONS: Final = {
    CANARY_EGRESS_DOWN: "a run that reaches any provider",
    BUDGET_EXHAUSTED: "a paid run: after midnight UTC, or with a larger budget",
    RECEIVER_FAILING: "a notification that it accepts",
    STORE_FAILING: "a successful write to the store",
    RELOAD_FAILED: "a configuration file that can be applied",
    BEHIND_SCHEDULE: "two minutes in which all runs are made on time",
}
"""The resolve condition of each alert about the daemon, as text."""

_DAY: Final = 86400.0
_LABELS: Final = {"severity": "page"}


def _certificate_rule(limit: float, severity: str) -> Rule:
    return Rule(
        measure=Measure.CERTIFICATE_EXPIRY,
        limit=limit,
        detector=Consecutive(type="consecutive", failures=1, resolve_after=5),
        labels={"severity": severity},
        annotations={
            "summary": "A certificate of {target} {message}",
            "description": "Renew the certificate, or the authority above it: connections fail once it has expired",
        },
    )


BUILTIN_RULES: Final[dict[str, Rule]] = {
    CANARY_EGRESS_DOWN: Rule(
        labels=_LABELS,
        annotations={
            "summary": "No provider is reachable from this daemon",
            "description": "The outbound network of this daemon is down, not the providers: {message}",
        },
    ),
    TARGET_REJECTED: Rule(
        measure=Measure.ERRORS,
        blame=(Blame.CONFIG,),
        detector=Consecutive(type="consecutive", failures=2),
        labels=_LABELS,
        annotations={
            "summary": "{target} rejects the requests of {canary}: {faults}",
            "description": "Check key, permissions, model, request and certificates: {message}",
        },
    ),
    BUDGET_EXHAUSTED: Rule(
        labels=_LABELS,
        annotations={
            "summary": "The budget is spent, canaries no longer run",
            "description": "Outages are not detected until the budget is renewed: {message}",
        },
    ),
    NO_DATA: Rule(
        detector=NoData(type="no_data"),
        labels=_LABELS,
        annotations={
            "summary": "{canary} reports nothing: {bad} scheduled runs without a result",
            "description": "The state of {target} is unknown: {message}",
        },
    ),
    RECEIVER_FAILING: Rule(
        labels=_LABELS,
        annotations={
            "summary": "Notifications to {subject} are not delivered",
            "description": "{subject} refuses notifications or does not answer; they are kept and retried: {message}",
        },
    ),
    STORE_FAILING: Rule(
        labels=_LABELS,
        annotations={
            "summary": "The store cannot be written",
            "description": "State is kept in memory, and notifications may be sent twice after a crash: {message}",
        },
    ),
    RELOAD_FAILED: Rule(
        labels={"severity": "ticket"},
        annotations={
            "summary": "The changed configuration is not applied",
            "description": "The daemon runs with the former configuration: {message}",
        },
    ),
    BEHIND_SCHEDULE: Rule(
        labels=_LABELS,
        annotations={
            "summary": "The daemon is too slow for its canaries: a part of their runs is skipped",
            "description": "Outages are noticed later. Give it more CPU, or run canaries less often: {message}",
        },
    ),
    CERTIFICATE_EXPIRING: _certificate_rule(14 * _DAY, "ticket"),
    CERTIFICATE_EXPIRING_SOON: _certificate_rule(3 * _DAY, "page"),
    MODEL_CHANGED: Rule(
        enabled=False,
        measure=Measure.MODEL_CHANGES,
        detector=Consecutive(type="consecutive", failures=1, resolve_after=10),
        labels={"severity": "ticket"},
        annotations={
            "summary": "Another model answers {canary}",
            "description": "Its answers, speed and price may differ; pin a version, or accept the change: {message}",
        },
    ),
}
"""The default of each built-in rule, by name."""

DAEMON_RULES: Final = frozenset(
    {CANARY_EGRESS_DOWN, BUDGET_EXHAUSTED, RECEIVER_FAILING, STORE_FAILING, RELOAD_FAILED, BEHIND_SCHEDULE}
)
"""Built-in rules about a part of the daemon.

The others watch canaries. Their ``match`` and ``detector`` can be set, as far as :func:`override_errors` allows.
"""

DAEMON_RULE_FIELDS: Final = frozenset({"labels", "annotations", "enabled"})
"""Fields of these rules that can be overridden."""


_SAMPLE_FIELDS: Final = frozenset({"measure", "limit", "blame", "per"})
_SIMILARITY_CUTOFF: Final = 0.8  # similarity ratio of two names, as in difflib


def with_builtin_rules(rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """Return all rules by name: the built-in ones with the overrides in ``rules``, then the other ``rules``."""
    builtin = {name: _override(rule, rules.get(name)) for name, rule in BUILTIN_RULES.items()}
    return {**builtin, **{name: rule for name, rule in rules.items() if name not in BUILTIN_RULES}}


def complete_override(name: str, override: Any) -> Any:
    """Return ``override``, as it is in the configuration, with the fields of the built-in rule that it needs.

    A new ``limit`` alone would be invalid: it needs its ``measure``, and the measure its limit.
    """
    if name not in CERTIFICATE_RULES or not isinstance(override, dict):
        return override
    default = BUILTIN_RULES[name]
    return {"measure": default.measure.value, "limit": default.limit, **override}


def override_errors(rules: Mapping[str, Rule]) -> Iterator[ConfigIssue]:
    """Yield errors of rules that override a built-in rule, or seem to misspell one. Paths are below ``rules``."""
    for name, rule in rules.items():
        if name in DAEMON_RULES:
            for field in sorted(rule.model_fields_set - DAEMON_RULE_FIELDS):
                yield ConfigIssue(
                    (name, field), f"has no effect on the built-in {name}; set {', '.join(sorted(DAEMON_RULE_FIELDS))}"
                )
        elif name == NO_DATA:
            yield from _no_data_errors(rule)
        elif name == TARGET_REJECTED:
            yield from _target_rejected_errors(rule)
        elif name in CERTIFICATE_RULES:
            yield from _certificate_rule_errors(name, rule)
        elif name == MODEL_CHANGED:
            yield from _model_changed_errors(rule)
        elif (near := closest_builtin(name)) and (
            _normalize(name) == _normalize(near) or rule.model_fields_set <= DAEMON_RULE_FIELDS
        ):
            yield ConfigIssue((name,), f"there is no built-in rule of this name; did you mean {near}?")


def closest_builtin(name: str) -> str | None:
    """Return the built-in rule whose name is similar to ``name``; ``None`` if there is none.

    A name that contains a built-in name and more, such as ``NoDataEurope``, does not count as similar.
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
        message = f"the built-in {NO_DATA} accepts only no_data, such as {{type: no_data, runs: 5}}"
        yield ConfigIssue((NO_DATA, "detector"), f"{message}; use another name for a rule with another detector")
    for field in sorted(_SAMPLE_FIELDS & rule.model_fields_set):
        yield ConfigIssue((NO_DATA, field), f"has no effect on the built-in {NO_DATA}; remove it")


def _target_rejected_errors(rule: Rule) -> Iterator[ConfigIssue]:
    """Yield overrides that would change the meaning of the rule: it inhibits other alerts of its canary."""
    advice = f"use another name for a rule with another one: {TARGET_REJECTED} inhibits other alerts"
    default = BUILTIN_RULES[TARGET_REJECTED]
    if isinstance(rule.detector, NoData):
        yield ConfigIssue((TARGET_REJECTED, "detector"), f"must evaluate samples, so it cannot be no_data; {advice}")
    for field in sorted(_SAMPLE_FIELDS & rule.model_fields_set):
        if getattr(rule, field) != getattr(default, field):
            required = {"blame": "[config]", "per": "canary"}.get(field) or getattr(default, field) or "not set"
            yield ConfigIssue((TARGET_REJECTED, field), f"is {required} for the built-in {TARGET_REJECTED}; {advice}")


def _certificate_rule_errors(name: str, rule: Rule) -> Iterator[ConfigIssue]:
    if rule.measure is not Measure.CERTIFICATE_EXPIRY:
        message = (
            f"is {Measure.CERTIFICATE_EXPIRY} for the built-in {name}; use another name for a rule with another one"
        )
        yield ConfigIssue((name, "measure"), message)


def _model_changed_errors(rule: Rule) -> Iterator[ConfigIssue]:
    if "enabled" not in rule.model_fields_set:
        yield ConfigIssue((MODEL_CHANGED,), "has no effect, because this rule is off by default; add enabled: true")
    if isinstance(rule.detector, NoData):
        message = f"must evaluate samples, so it cannot be no_data; use {NO_DATA} for missing runs"
        yield ConfigIssue((MODEL_CHANGED, "detector"), message)
    for field in sorted(_SAMPLE_FIELDS & rule.model_fields_set):
        if getattr(rule, field) != getattr(BUILTIN_RULES[MODEL_CHANGED], field):
            yield ConfigIssue(
                (MODEL_CHANGED, field),
                f"cannot be changed for the built-in {MODEL_CHANGED}; use another name for a rule with another one",
            )


def _override(default: Rule, change: Rule | None) -> Rule:
    if change is None:
        return default
    update = {name: getattr(change, name) for name in change.model_fields_set}
    for name in ("labels", "annotations"):
        update[name] = {**getattr(default, name), **getattr(change, name)}
    return default.model_copy(update=update)
