"""The configurations that a story goes through: each part of one, by a name of its own."""

from typing import Any

from streamcanary.model.canary import Canary
from support.alerting.builders import a_hook

PROM = {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]}
SLACK = {"type": "slack", "url": "https://hooks.slack.com/services/T0/B0/x"}
HOOKS = ("hook", "other", "third")


def canary(name: str, host: str, target: str, **more: Any) -> Canary:
    """Build a canary that runs each half minute."""
    return Canary(name=name, target=target, provider=target, interval=30.0, timeout=10.0, host=host, **more)


FLEET = (
    canary("a", "one", "left"),
    canary("b", "two", "left"),
    canary("c", "two", "right"),
    canary("d", "three", "right"),
)
FLEETS: dict[str, tuple[Canary, ...]] = {
    "all": FLEET,
    "some": FLEET[:2],
    "renamed": (canary("a2", "one", "left", renamed_from="a"), *FLEET[1:]),
}
ERRORS: dict[str, Any] = {"detector": {"type": "consecutive", "failures": 2}, "labels": {"severity": "page"}}
ANY: dict[str, Any] = {
    "blame": ["network", "provider", "quota", "content", "config"],
    "detector": {"type": "consecutive", "failures": 1},
    "labels": {"severity": "ticket"},
}
RULES: dict[str, dict[str, Any]] = {
    "both": {"Errors": ERRORS, "Any": ANY},
    "one": {"Errors": ERRORS},
    "renamed": {"Faults": {**ERRORS, "renamed_from": "Errors"}, "Any": ANY},
    "escalated": {"Errors": ERRORS, "Any": {**ANY, "labels": {"severity": "page"}}},
    "no built-in": {"Errors": ERRORS, "NoData": {"enabled": False}, "CanaryEgressDown": {"enabled": False}},
}
RECEIVERS: dict[str, dict[str, Any]] = {
    "all": {"hook": a_hook(), "other": a_hook(), "third": SLACK, "prom": PROM},
    "two": {name: a_hook() for name in HOOKS[:2]},
}
ROUTES: dict[str, list[dict[str, Any]]] = {
    "to all": [],
    "by severity": [{"match": ['severity="page"'], "receivers": ["hook", "other"]}, {"receivers": ["other"]}],
    "to one": [{"receivers": ["other"]}],
    "pages only": [{"match": ['severity="page"'], "receivers": ["hook"]}],
}
GROUPS: dict[str, list[str]] = {
    "by alert": ["alert"],
    "alone": ["alert", "canary"],
    "together": [],
    "by target": ["target"],
}
WINDOWS: dict[str, dict[str, Any]] = {
    "never": {},
    "now and then": {"deploy": {"match": ['target="left"'], "cron": "*/10 * * * *", "for": 240}},
    "all the time": {"works": {"match": ['alert="Errors"'], "cron": "* * * * *", "for": 3600}},
}
SHAPES: dict[str, dict[str, Any]] = {
    "fleet": FLEETS,
    "rules": RULES,
    "receivers": RECEIVERS,
    "routes": ROUTES,
    "groups": GROUPS,
    "windows": WINDOWS,
}
