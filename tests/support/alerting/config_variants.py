"""Variants of each part of a configuration, by name, for the stateful test."""

from typing import Any

from streamcanary.alerting.learning.baseline import LearnedRate, LearnedValues
from streamcanary.model.canary import Canary
from support.alerting.builders import pagerduty_config, webhook_config

ALERTMANAGER = {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]}
SLACK = {"type": "slack", "url": "https://hooks.slack.com/services/T0/B0/x"}
WEBHOOK_NAMES = ("hook", "other", "third")


def make_canary(name: str, host: str, target: str, **more: Any) -> Canary:
    """Build a canary that runs every 30 s."""
    return Canary(name=name, target=target, provider=target, interval=30.0, timeout=10.0, host=host, **more)


CANARIES = (
    make_canary("a", "one", "left"),
    make_canary("b", "two", "left"),
    make_canary("c", "two", "right"),
    make_canary("d", "three", "right"),
)
CANARY_VARIANTS: dict[str, tuple[Canary, ...]] = {
    "all": CANARIES,
    "some": CANARIES[:2],
    "moved": (*CANARIES[:1], make_canary("b", "two", "right"), *CANARIES[2:]),
    "renamed": (make_canary("a2", "one", "left", renamed_from="a"), *CANARIES[1:]),
}
ERRORS_RULE: dict[str, Any] = {"detector": {"type": "consecutive", "failures": 2}, "labels": {"severity": "page"}}
ANY_FAULT_RULE: dict[str, Any] = {
    "blame": ["network", "provider", "quota", "content", "config"],
    "detector": {"type": "consecutive", "failures": 1},
    "labels": {"severity": "ticket"},
}
POOLED_RULE: dict[str, Any] = {**ERRORS_RULE, "per": ["canary", "target", "all"]}
SHARES_RULE: dict[str, Any] = {
    "detector": {"type": "ratio", "over": "6 runs", "threshold": "50%", "min_samples": 2},
    "labels": {"severity": "page"},
    "per": ["canary", "target", "all"],
}
BURNING_RULE: dict[str, Any] = {
    "detector": {
        "type": "burn_rate",
        "objective": "90%",
        "windows": [{"long": "10m", "short": "2m", "rate": 4}],
        "min_samples": 3,
    },
    "labels": {"severity": "page"},
    "per": ["canary", "target", "all"],
}
PAGED_SPIKE: dict[str, Any] = {
    "detector": {"type": "spike", "normal": "10%", "spike": "60%", "false_pages": "1 per 1h", "autocorrelation": 0},
    "labels": {"severity": "page"},
    "per": ["canary", "target", "all"],
}
"""It fires after three failures in a row."""
USUAL_TIMES = LearnedValues(
    limits={},
    days=1.0,
    above=LearnedRate(bad=280, total=2880, upper_bound=0.108, autocorrelation=0.05),
    quantiles=tuple(0.6 + 0.022 * number for number in range(20)),
)
SHIFT_RULE: dict[str, Any] = {
    "measure": "first_token",
    "detector": {"type": "shift", "false_pages": "1 per 1h"},
    "labels": {"severity": "page"},
    "per": ["canary", "target"],
}
RULE_VARIANTS: dict[str, dict[str, Any]] = {
    "both": {"Errors": ERRORS_RULE, "Any": ANY_FAULT_RULE},
    "one": {"Errors": ERRORS_RULE},
    "renamed": {"Faults": {**ERRORS_RULE, "renamed_from": "Errors"}, "Any": ANY_FAULT_RULE},
    "escalated": {"Errors": ERRORS_RULE, "Any": {**ANY_FAULT_RULE, "labels": {"severity": "page"}}},
    "pooled": {"Errors": {**ERRORS_RULE, "per": ["canary", "target"]}, "Any": {**ANY_FAULT_RULE, "per": "target"}},
    "pooled by all": {"Errors": POOLED_RULE, "Any": {**ANY_FAULT_RULE, "per": ["target", "all"]}},
    "pooled and renamed": {"Faults": {**POOLED_RULE, "renamed_from": "Errors"}, "Any": ANY_FAULT_RULE},
    "pooled shares": {"Errors": SHARES_RULE},
    "pooled budget": {"Errors": BURNING_RULE},
    "pooled spike": {"Errors": PAGED_SPIKE, "Any": {**ANY_FAULT_RULE, "per": "target"}},
    "learned": {"Errors": SHIFT_RULE, "Any": ANY_FAULT_RULE},
    "no built-in": {"Errors": ERRORS_RULE, "NoData": {"enabled": False}, "CanaryEgressDown": {"enabled": False}},
}
RECEIVER_VARIANTS: dict[str, dict[str, Any]] = {
    "all": {"hook": webhook_config(), "other": pagerduty_config(), "third": SLACK, "prom": ALERTMANAGER},
    "two": {"hook": webhook_config(), "other": pagerduty_config()},
}
ROUTE_VARIANTS: dict[str, list[dict[str, Any]]] = {
    "to all": [],
    "by severity": [{"match": ['severity="page"'], "receivers": ["hook", "other"]}, {"receivers": ["other"]}],
    "to one": [{"receivers": ["other"]}],
    "pages only": [{"match": ['severity="page"'], "receivers": ["hook"]}],
}
GROUP_BY_VARIANTS: dict[str, list[str]] = {
    "by alert": ["alert"],
    "alone": ["alert", "canary"],
    "together": [],
    "by target": ["target"],
}
MAINTENANCE_VARIANTS: dict[str, dict[str, Any]] = {
    "never": {},
    "now and then": {"deploy": {"match": ['target="left"'], "cron": "*/10 * * * *", "for": 240}},
    "pooled alerts": {"works": {"match": ['scope=~"target|all"'], "cron": "*/10 * * * *", "for": 240}},
    "all the time": {"works": {"match": ['alert="Errors"'], "cron": "* * * * *", "for": 3600}},
}
CONFIG_VARIANTS: dict[str, dict[str, Any]] = {
    "fleet": CANARY_VARIANTS,
    "rules": RULE_VARIANTS,
    "receivers": RECEIVER_VARIANTS,
    "routes": ROUTE_VARIANTS,
    "groups": GROUP_BY_VARIANTS,
    "windows": MAINTENANCE_VARIANTS,
}
