"""What is no mistake in the ``alerts:`` section, and means that somebody is not told of something."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from streamcanary.alerting.builtin_rules import ABOUT_US, BUILTIN, RECEIVER_FAILING, nearest
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.bindings import alert_labels
from streamcanary.alerting.lint.matchers import other_label, some, unmatched
from streamcanary.alerting.maintenance import Maintenance
from streamcanary.alerting.routing import Route, route_for
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.config_issue import Misfit
from streamcanary.model.config_types.duration import format_duration

Labels = Mapping[str, str]


def unheard(config: AlertsConfig, canaries: Sequence[Canary], instance: str) -> Iterator[Misfit]:
    """Yield what keeps alerts from being told of, and what of the section no alert can concern, by path below it."""
    alerts = list(possible_alerts(config, canaries, instance))
    yield from _nearly_builtin(config)
    if not config.receivers:
        if any(rule.enabled for rule in config.rules.values()):
            message = "is empty, so nobody is told of any alert; add one, such as "
            yield Misfit(("receivers",), f"{message}oncall: {{type: pagerduty, routing_key_file: PATH}}")
    else:
        yield from _unrouted(config, alerts)
    for name, window in config.maintenance.items():
        yield from _below(("maintenance", name, "match"), unmatched(window.match, alerts, "alert"))
        yield from _below(("maintenance", name), _never_closes(window))
    for number, label in enumerate(config.group_by):
        if alerts and not any(label in labels for labels in alerts):
            yield Misfit(("group_by", number), f"no alert has the label {label}; {other_label(label, alerts)}")


def possible_alerts(config: AlertsConfig, canaries: Iterable[Canary], instance: str) -> Iterator[dict[str, str]]:
    """Yield the labels of each alert that there can be, with ``alert`` as a second name of ``alertname``."""
    canaries = list(canaries)
    for name, rule in config.rulebook.items():
        if name not in ABOUT_US:
            for canary in filter(rule.watches, canaries):
                yield {**alert_labels(name, rule, canary, instance), "alert": name}
        elif rule.enabled:
            for subject in config.receivers if name == RECEIVER_FAILING else ("",):
                yield {**rule.labels, "subject": subject, "alertname": name, "alert": name, "instance": instance}


def _nearly_builtin(config: AlertsConfig) -> Iterator[Misfit]:
    for name in config.rules:
        if name not in BUILTIN and (near := nearest(name)):
            message = f"is a rule of its own beside the built-in {near}; did you mean {near}? If not, rename it"
            yield Misfit(("rules", name), message)


def _unrouted(config: AlertsConfig, alerts: Sequence[Labels]) -> Iterator[Misfit]:
    """Yield what is odd about the routes."""
    if not config.routes:
        if "routes" in config.model_fields_set:
            message = "is empty, and then every alert goes to every receiver; write a route, or leave the key out"
            yield Misfit(("routes",), message)
        return
    taken = [(labels, route_for(config.routes, labels)) for labels in alerts]
    reached = {id(route) for _, route in taken}
    for number, route in enumerate(config.routes):
        if id(route) not in reached and alerts:
            yield from _unreached(number, route, alerts)
    led_to = {name for route in config.routes for name in route.receivers}
    for name in config.receivers:
        if name not in led_to:
            yield Misfit(("receivers", name), "no route leads to it, so it is told of nothing; name it in a route")
    if lost := [labels for labels, route in taken if route is None]:
        yield Misfit(
            ("routes",),
            f"no route matches the alerts of {_rules(lost, alerts)}: nobody is told of them; end with a route that "
            f"matches all, such as {{receivers: [{next(iter(config.receivers))}]}}",
        )


def _unreached(number: int, route: Route, alerts: Sequence[Labels]) -> Iterator[Misfit]:
    why = list(unmatched(route.match, alerts, "alert"))
    yield from _below(("routes", number, "match"), why)
    if not why:
        message = "all that it matches goes to a route before it, as the first one wins; move it up, or remove it"
        yield Misfit(("routes", number), message)


def _rules(lost: Sequence[Labels], alerts: Sequence[Labels]) -> str:
    """Return the names of the rules whose alerts are ``lost``; with the canaries, if not all of a rule are."""
    there, gone = (_by_rule(some_alerts) for some_alerts in (alerts, lost))
    return some([name if len(whom) == len(there[name]) else f"{name} ({some(whom, 2)})" for name, whom in gone.items()])


def _by_rule(alerts: Iterable[Labels]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for labels in alerts:
        found.setdefault(labels["alertname"], []).append(labels.get("canary") or labels.get("subject", ""))
    return found


def _never_closes(window: Maintenance) -> Iterator[Misfit]:
    longest = window.schedule.longest
    if window.length >= longest:
        message = (
            f"the window never closes: {window.cron!r} opens it again after {format_duration(longest)} at most, so "
            "nobody is ever told of what it matches; write less than that, or a cron that comes less often"
        )
        yield Misfit(("for",), message)


def _below(path: tuple[str | int, ...], misfits: Iterable[Misfit]) -> Iterator[Misfit]:
    for misfit in misfits:
        yield misfit._replace(path=(*path, *misfit.path))
