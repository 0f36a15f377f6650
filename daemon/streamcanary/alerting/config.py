"""The ``alerts:`` section."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from streamcanary.alerting.builtin_rules import DAEMON_RULES, override_errors, with_builtin_rules
from streamcanary.alerting.lint.matchers import matcher_issues
from streamcanary.alerting.maintenance import Maintenance
from streamcanary.alerting.notify.receivers import Receiver
from streamcanary.alerting.routing import Route
from streamcanary.alerting.rules import Name, Rule
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.config_issue import ConfigIssue, raise_config_errors
from streamcanary.model.config_types.duration import Duration, PositiveDuration
from streamcanary.model.config_types.label import LabelName


def _check_trace_url(url: str) -> str:
    if urlsplit(url).scheme not in ("http", "https") or "{trace_id}" not in url:
        raise ValueError("must be an http or https address with {trace_id} in it")
    return url


class AlertsConfig(BaseModel):
    """Rules and receivers by name, the routes between them, and how much is told at once.

    Without ``routes`` every alert goes to every receiver. An alert that no route matches is shown, and told to nobody.

    Alerts of one route that agree in the labels of ``group_by`` are one group, which edge receivers are told of
    together: first ``group_wait`` seconds after it has begun, so that what fails at once is one page; then, if others
    join or leave, each ``group_interval`` seconds at most; and after ``repeat_interval`` seconds again if nothing
    changes. That it is over is told at once. ``maintenance`` are windows in which alerts are muted, by name.
    ``trace_url`` is the address of a trace in the tracing backend, with ``{trace_id}`` in it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: dict[Name, Rule] = Field(default_factory=dict)
    receivers: dict[Name, Receiver] = Field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    group_by: tuple[LabelName, ...] = ("alert", "provider")
    group_wait: Annotated[Duration, Field(le=3600)] = 10.0
    group_interval: PositiveDuration = 300.0
    repeat_interval: Annotated[PositiveDuration, Field(ge=60)] = 4 * 3600.0
    maintenance: dict[Name, Maintenance] = Field(default_factory=dict)
    trace_url: Annotated[str, AfterValidator(_check_trace_url)] | None = None

    @model_validator(mode="after")
    def _check_references(self) -> "AlertsConfig":
        """Hold the parts against each other; each problem is reported at the key that has it."""
        problems = [error._replace(path=("rules", *error.path)) for error in override_errors(self.rules)]
        problems += self._renamed_from_errors()
        known = ", ".join(sorted(self.receivers)) or "none"
        problems += [
            ConfigIssue(("routes", number, "receivers", place), f"there is no receiver {name!r}; known: {known}")
            for number, route in enumerate(self.routes)
            for place, name in enumerate(route.receivers)
            if name not in self.receivers
        ]
        for number, route in enumerate(self.routes[:-1]):
            if not route.match:
                problems.append(
                    ConfigIssue(("routes", number), "matches everything, so the routes after it are never reached")
                )
        raise_config_errors(type(self).__name__, problems)
        return self

    def _renamed_from_errors(self) -> Iterator[ConfigIssue]:
        taken = {name: name for name, rule in self.all_rules.items() if not rule.renamed_from}
        for name, rule in self.rules.items():
            former, path = rule.renamed_from, ("rules", name, "renamed_from")
            if former == name:
                yield ConfigIssue(
                    path, "is the name that the rule has now; write the one that it had before, or remove it"
                )
            elif former and (other := taken.setdefault(former, name)) != name:
                named = "there is a rule of that name" if other == former else f"{other} has that name, too"
                yield ConfigIssue(path, f"{named}, and alerts are known by it; a former name is one rule's alone")

    @cached_property
    def all_rules(self) -> dict[str, Rule]:
        """All rules by name, the built-in ones among them."""
        return with_builtin_rules(self.rules)

    @property
    def effective_routes(self) -> tuple[Route, ...]:
        """The routes as they apply: without any, one to all receivers."""
        if self.routes or not self.receivers:
            return self.routes
        return (Route(receivers=tuple(self.receivers)),)

    def config_errors(self, canaries: Iterable[Canary]) -> list[ConfigIssue]:
        """Return what is wrong with the rules in view of the canaries that there are; paths are below ``alerts``."""
        canaries, found = list(canaries), []
        labels = [canary.label_set() for canary in canaries]
        for name, rule in self.rules.items():
            if not rule.enabled or name in DAEMON_RULES:
                continue
            bound = [canary for canary in canaries if rule.applies_to(canary)]
            found += [
                error._replace(path=("rules", name, "match", *error.path))
                for error in matcher_issues(rule.match, labels, "canary")
            ]
            found += [
                ConfigIssue(("rules", name, "detector", *misfit.path), misfit.message)
                for misfit in map(rule.detector.config_error, bound)
                if misfit is not None
            ]
        return found
