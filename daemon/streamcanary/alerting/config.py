"""The configuration model of the ``alerts`` section."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from streamcanary.alerting.builtin_rules import DAEMON_RULES, complete_override, override_errors, with_builtin_rules
from streamcanary.alerting.grouping import Grouping
from streamcanary.alerting.lint.matchers import matcher_issues
from streamcanary.alerting.maintenance import Maintenance
from streamcanary.alerting.notify.page_links import LinkSettings
from streamcanary.alerting.notify.receivers import Receiver
from streamcanary.alerting.routing import Route
from streamcanary.alerting.rules import Name, Rule
from streamcanary.alerting.scope import scope_errors, scope_values
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.config_issue import ConfigIssue, KeyPath, raise_config_errors


def _check_trace_url(url: str) -> str:
    if urlsplit(url).scheme not in ("http", "https") or "{trace_id}" not in url:
        raise ValueError("must be an http or https address that contains {trace_id}")
    return url


def _check_external_url(url: str) -> str:
    """Return ``url`` without a slash at its end.

    Raises:
        ValueError: if links that begin with it would not lead to the status page.
    """
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ValueError("not an address: write one such as https://canary.example.com") from None
    if parts.scheme not in ("http", "https") or not has_host:
        raise ValueError("must be an http or https address, such as https://canary.example.com")
    if "@" in parts.netloc:
        raise ValueError("has a user name in it, which everyone who is notified could read; remove it")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError("has a query or a fragment; write the address before it")
    if not url.isascii() or any(character <= " " or character in '<>"|\\\x7f' for character in url):
        raise ValueError("has a character that an address cannot have; write it in percent encoding")
    return url.rstrip("/")


ExternalUrl = Annotated[
    str,
    Field(max_length=500, examples=["https://canary.example.com"], json_schema_extra={"pattern": "^https?://"}),
    AfterValidator(_check_external_url),
]
"""A config field with the address of the status page, without a slash at its end."""


class AlertsConfig(Grouping):
    """Rules, receivers, routes, grouping and maintenance windows of alerting.

    Without ``routes`` every alert goes to every receiver. An alert that no route matches is shown in the status, but
    not sent. ``maintenance`` are windows in which alerts are muted, by name. ``trace_url`` is the URL of a trace in the
    tracing backend, with the placeholder ``{trace_id}``. ``external_url`` is the address at which people reach the
    status page, such as ``https://canary.example.com``: notifications have links to it.
    """

    rules: dict[Name, Rule] = Field(default_factory=dict)
    receivers: dict[Name, Receiver] = Field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    maintenance: dict[Name, Maintenance] = Field(default_factory=dict)
    trace_url: Annotated[str, AfterValidator(_check_trace_url)] | None = None
    external_url: ExternalUrl | None = None

    @property
    def links(self) -> LinkSettings:
        """Where the links of notifications lead."""
        return LinkSettings(self.trace_url, self.external_url)

    @field_validator("rules", mode="before")
    @classmethod
    def _complete_overrides(cls, rules: Any) -> Any:
        """Add what an override of a built-in rule leaves out, but its validation needs."""
        if not isinstance(rules, dict):
            return rules
        return {name: complete_override(name, rule) for name, rule in rules.items()}

    @model_validator(mode="after")
    def _check_references(self) -> "AlertsConfig":
        """Check references between the parts. Each error is reported at the key that has it."""
        errors = [error._replace(path=("rules", *error.path)) for error in override_errors(self.rules)]
        errors += self._renamed_from_errors()
        known = ", ".join(sorted(self.receivers)) or "none"
        errors += [
            ConfigIssue(("routes", number, "receivers", index), f"there is no receiver {name!r}; known: {known}")
            for number, route in enumerate(self.routes)
            for index, name in enumerate(route.receivers)
            if name not in self.receivers
        ]
        for number, route in enumerate(self.routes[:-1]):
            if not route.match:
                errors.append(
                    ConfigIssue(("routes", number), "matches everything, so the routes after it are never reached")
                )
        raise_config_errors(type(self).__name__, errors)
        return self

    def _renamed_from_errors(self) -> Iterator[ConfigIssue]:
        taken = {name: name for name, rule in self.all_rules.items() if not rule.renamed_from}
        for name, rule in self.rules.items():
            former, path = rule.renamed_from, ("rules", name, "renamed_from")
            if former == name:
                yield ConfigIssue(path, "is the current name of the rule; set its former name, or remove it")
            elif former and (other := taken.setdefault(former, name)) != name:
                conflict = "is the name of another rule" if other == former else f"is also the former name of {other}"
                yield ConfigIssue(path, f"{conflict}; alerts are identified by it, so it must be unique")

    @cached_property
    def all_rules(self) -> dict[str, Rule]:
        """All rules by name, including the built-in ones."""
        return with_builtin_rules(self.rules)

    @property
    def effective_routes(self) -> tuple[Route, ...]:
        """The routes that apply: if none are configured, one route to all receivers."""
        if self.routes or not self.receivers:
            return self.routes
        return (Route(receivers=tuple(self.receivers)),)

    def config_errors(self, canaries: Iterable[Canary]) -> list[ConfigIssue]:
        """Return the errors of rules with respect to the configured canaries. Paths are below ``alerts``."""
        canaries, errors = list(canaries), []
        labels = [canary.label_set() for canary in canaries]
        for name, rule in self.rules.items():
            if not rule.enabled or name in DAEMON_RULES:
                continue
            errors += [
                error._replace(path=("rules", name, "match", *error.path))
                for error in matcher_issues(rule.match, labels, "canary")
            ]
            errors += [error._replace(path=("rules", name, *error.path)) for error in scope_errors(rule, canaries)]
            errors += [
                ConfigIssue(("rules", name, "detector", *error.path), error.message)
                for error in _detector_errors(rule, canaries)
            ]
        return errors


def _detector_errors(rule: Rule, canaries: Sequence[Canary]) -> list[ConfigIssue]:
    """Return the errors of the detector; those that differ only in the name of the canary are one."""
    alike: dict[tuple[KeyPath, str], list[ConfigIssue]] = {}
    for value in scope_values(rule, canaries):
        if (error := rule.detector.config_error(value.stream())) is not None:
            text = error.message.replace(value.subject, "", 1)
            alike.setdefault((error.path, text), []).append(error)
    return [
        first._replace(message=f"{first.message}; the same for {len(others)} more") if others else first
        for first, *others in alike.values()
    ]
