"""Warns of alerts without a receiver, and of routes, receivers, matchers and labels without an alert."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from streamcanary.alerting.builtin_rules import BUILTIN_RULES, DAEMON_RULES, RECEIVER_FAILING, closest_builtin
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.lint.matchers import join_names, matcher_issues, suggest_label
from streamcanary.alerting.maintenance import Maintenance
from streamcanary.alerting.routing import Route, route_for
from streamcanary.alerting.scope import alert_labels, scope_values
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.config_issue import ConfigIssue
from streamcanary.model.config_types.duration import format_duration

Labels = Mapping[str, str]


def routing_issues(
    config: AlertsConfig, canaries: Sequence[Canary], instance: str, *, replicas: int = 1
) -> Iterator[ConfigIssue]:
    """Yield the issues of the ``alerts:`` section, by path below it: alerts without a receiver, and unused entries.

    Of more than one of ``replicas`` members of a fleet, none should have a receiver.
    """
    alerts = list(possible_alerts(config, canaries, instance))
    yield from _builtin_name_issues(config)
    if not config.receivers:
        if replicas == 1 and any(rule.enabled for rule in config.rules.values()):
            message = "is empty, so no alert is sent; add a receiver, such as "
            yield ConfigIssue(("receivers",), f"{message}oncall: {{type: pagerduty, routing_key_file: PATH}}")
    else:
        if replicas > 1:
            message = (
                f"each of the {replicas} members of fleet notifies them by itself; remove them, and let Prometheus "
                "notify once, with the rules of: streamcanary rules --fleet"
            )
            yield ConfigIssue(("receivers",), message)
        yield from _route_issues(config, alerts)
    for name, window in config.maintenance.items():
        yield from _prefix_paths(("maintenance", name, "match"), matcher_issues(window.match, alerts, "alert"))
        yield from _prefix_paths(("maintenance", name), _endless_window_issues(window))
    for number, label in enumerate(config.group_by):
        if alerts and not any(label in labels for labels in alerts):
            yield ConfigIssue(("group_by", number), f"no alert has the label {label}; {suggest_label(label, alerts)}")


def possible_alerts(config: AlertsConfig, canaries: Iterable[Canary], instance: str) -> Iterator[dict[str, str]]:
    """Yield the labels of every possible alert, with ``alert`` as a second name of ``alertname``."""
    canaries = list(canaries)
    for name, rule in config.all_rules.items():
        if name not in DAEMON_RULES:
            for value in scope_values(rule, canaries):
                yield {**alert_labels(name, rule, value.labels, instance), "alert": name}
        elif rule.enabled:
            for subject in config.receivers if name == RECEIVER_FAILING else ("",):
                yield {**rule.labels, "subject": subject, "alertname": name, "alert": name, "instance": instance}


def _builtin_name_issues(config: AlertsConfig) -> Iterator[ConfigIssue]:
    for name in config.rules:
        if name not in BUILTIN_RULES and (near := closest_builtin(name)):
            message = f"is a new rule, not the built-in {near}; did you mean {near}? If not, rename it"
            yield ConfigIssue(("rules", name), message)


def _route_issues(config: AlertsConfig, alerts: Sequence[Labels]) -> Iterator[ConfigIssue]:
    """Yield unreachable routes, receivers without a route, and alerts without a route."""
    if not config.routes:
        if "routes" in config.model_fields_set:
            message = "is empty, so every alert goes to every receiver; add a route, or remove the key"
            yield ConfigIssue(("routes",), message)
        return
    routed = [(labels, route_for(config.routes, labels)) for labels in alerts]
    reached = {id(route) for _, route in routed}
    for number, route in enumerate(config.routes):
        if id(route) not in reached and alerts:
            yield from _unreachable_route_issues(number, route, alerts)
    routed_receivers = {name for route in config.routes for name in route.receivers}
    for name in config.receivers:
        if name not in routed_receivers:
            yield ConfigIssue(("receivers", name), "no route names it, so it gets no alert; add it to a route")
    if unrouted := [labels for labels, route in routed if route is None]:
        yield ConfigIssue(
            ("routes",),
            f"no route matches the alerts of {_describe_rules(unrouted, alerts)}, so they are not sent; "
            f"add a last route that matches all, such as {{receivers: [{next(iter(config.receivers))}]}}",
        )


def _unreachable_route_issues(number: int, route: Route, alerts: Sequence[Labels]) -> Iterator[ConfigIssue]:
    issues = list(matcher_issues(route.match, alerts, "alert"))
    yield from _prefix_paths(("routes", number, "match"), issues)
    if not issues:
        message = "is never used: earlier routes match its alerts, and the first match wins; move it up, or remove it"
        yield ConfigIssue(("routes", number), message)


def _describe_rules(unrouted: Sequence[Labels], alerts: Sequence[Labels]) -> str:
    """Return the rules of the ``unrouted`` alerts, each with its canaries if other alerts of the rule have a route."""
    all_subjects, unrouted_subjects = (_subjects_by_rule(some_alerts) for some_alerts in (alerts, unrouted))
    return join_names(
        [
            name if len(subjects) == len(all_subjects[name]) else f"{name} ({join_names(subjects, 2)})"
            for name, subjects in unrouted_subjects.items()
        ]
    )


def _subjects_by_rule(alerts: Iterable[Labels]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for labels in alerts:
        found.setdefault(labels["alertname"], []).append(labels.get("canary") or labels.get("subject", ""))
    return found


def _endless_window_issues(window: Maintenance) -> Iterator[ConfigIssue]:
    longest = window.schedule.max_interval
    if window.length >= longest:
        message = (
            f"the window never closes: {window.cron!r} opens it again after {format_duration(longest)} at most, so "
            "the alerts that it matches are never sent; write a shorter time, or a less frequent cron"
        )
        yield ConfigIssue(("for",), message)


def _prefix_paths(path: tuple[str | int, ...], issues: Iterable[ConfigIssue]) -> Iterator[ConfigIssue]:
    for issue in issues:
        yield issue._replace(path=(*path, *issue.path))
