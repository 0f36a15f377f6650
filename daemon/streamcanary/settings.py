"""The whole configuration: the sections of all packages, and the checks across sections."""

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PrivateAttr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.lint.ineffective_rules import CanaryLimits, IneffectiveRule, ineffective_rules
from streamcanary.alerting.lint.routing import routing_issues
from streamcanary.alerting.service.heartbeat import HeartbeatConfig
from streamcanary.canary.config_warnings import canary_warnings
from streamcanary.canary.fleet import FleetConfig, fleet_config_errors, scale_intervals
from streamcanary.canary.spec import CanarySpec, Slo, share_equal_parts
from streamcanary.canary.spend.budget import BudgetConfig
from streamcanary.canary.spend.guard import budget_config_errors
from streamcanary.canary.targets import azure_identity
from streamcanary.canary.targets.azure_target import AzureTarget
from streamcanary.canary.targets.target_types import Target, with_default_types
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.config_issue import ConfigIssue
from streamcanary.model.names import CLOUD_REGION
from streamcanary.settings_sources.document import Document, read_content_hash
from streamcanary.settings_sources.error_messages import explain_validation_error
from streamcanary.settings_sources.problem import ConfigInvalid, Problem, render, sort_problems
from streamcanary.settings_sources.source import YamlAndEnvSource
from streamcanary.settings_sources.type_check import type_mismatches
from streamcanary.store.config import StoreConfig, store_config_errors
from streamcanary.telemetry.config import TelemetryConfig
from streamcanary.transport.tls import tls_file_errors
from streamcanary.web.allowed_hosts import is_loopback
from streamcanary.web.config import WebConfig

__all__ = ["ConfigInvalid", "Problem", "Settings", "load", "read_content_hash", "render"]


def _check_region(region: str) -> str:
    """Refuse what looks like another region, such as one from a file that ends with a line end."""
    if region != region.strip() or not region.isprintable():
        raise ValueError("must not begin or end with white space, or have line ends; two regions would look the same")
    return region


Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$", max_length=63)]
"""The name of a target or canary."""
Region = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_check_region)]
"""The name of a region, in one line."""


class Settings(BaseSettings):
    """A valid configuration.

    ``instance`` is part of every deduplication key that a receiver gets. Replicas with the same canaries share it.
    ``region`` is where this daemon runs, the vantage point of its canaries: the attribute ``cloud.region`` of the
    resource, and the label ``region`` of every metric at ``/metrics``.

    With a ``fleet``, ``canaries`` and ``budget`` are those of this member: the intervals of the configuration are
    multiplied by the number of replicas, and the limits divided by it.
    """

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    instance: Annotated[str, Field(min_length=1, max_length=200)] = "default"
    region: Region | None = None
    fleet: FleetConfig | None = None  # before the sections that are scaled to it
    targets: dict[Name, Target]
    canaries: dict[Name, CanarySpec]
    alerts: AlertsConfig = Field(default_factory=AlertsConfig)
    budget: BudgetConfig = Field(default_factory=BudgetConfig)
    telemetry: TelemetryConfig = Field(default_factory=TelemetryConfig)
    heartbeat: HeartbeatConfig | None = None
    store: StoreConfig = Field(default_factory=StoreConfig)
    web: WebConfig = Field(default_factory=WebConfig)

    _warnings: tuple[Problem, ...] = PrivateAttr(())
    _content_hash: str = PrivateAttr("")

    @field_validator("targets", mode="before")
    @classmethod
    def _default_target_types(cls, targets: Any) -> Any:
        return with_default_types(targets)

    @field_validator("canaries", mode="before")
    @classmethod
    def _scale_intervals(cls, canaries: Any, info: ValidationInfo) -> Any:
        return scale_intervals(canaries, _replicas(info))

    @field_validator("canaries")
    @classmethod
    def _share_parts(cls, canaries: dict[str, CanarySpec]) -> dict[str, CanarySpec]:
        share_equal_parts(canaries.values())
        return canaries

    @field_validator("budget")
    @classmethod
    def _share_budget(cls, budget: BudgetConfig, info: ValidationInfo) -> BudgetConfig:
        return budget.share(_replicas(info))

    @property
    def replicas(self) -> int:
        """The members of the fleet, of which this daemon is one; 1 without a fleet."""
        return self.fleet.replicas if self.fleet else 1

    @property
    def has_reduced_series(self) -> bool:
        """Whether canaries have fewer metric series: see ``telemetry.series``."""
        return self.telemetry.has_reduced_series(len(self.canaries))

    @property
    def member_instance(self) -> str:
        """The ``instance`` in the keys of alerts and the phases of canaries: each member of a fleet has its own."""
        member = self.fleet.member if self.fleet else None
        return f"{self.instance}/{member}" if member else self.instance

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The config warnings, in the order of the file."""
        return self._warnings

    @property
    def content_hash(self) -> str:
        """The SHA-256 of the configuration file, as ``sha256sum`` prints it; empty if there is no file."""
        return self._content_hash

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Disable the default sources of pydantic-settings; :func:`load` passes its own."""
        return (init_settings,)

    @property
    def public(self) -> tuple[str, ...]:
        """Names of the configuration, which are not secret even if a secret contains one of them."""
        names = (*self.targets, *self.canaries, *self.alerts.receivers, *self.alerts.rules)
        models = (name for canary in self.canaries.values() for name in canary.models)
        return (
            *names,
            self.instance,
            self.member_instance,
            *([self.region] if self.region else []),
            *models,
            *(public for target in self.targets.values() for public in target.public),
        )

    def to_canaries(self) -> tuple[Canary, ...]:
        """Return the canaries as values for the other packages."""
        return self._canary_values

    @cached_property
    def _canary_values(self) -> tuple[Canary, ...]:
        return tuple(
            spec.to_canary(name, self.targets[spec.target], members=self.replicas)
            for name, spec in self.canaries.items()
        )

    def config_errors(self) -> Iterator[ConfigIssue]:
        """Yield the config errors between sections that are valid by themselves; paths start at the root."""
        yield from _prefix_paths("alerts", self.alerts.config_errors(self.to_canaries()))
        yield from _prefix_paths("alerts", (error for error, is_error in self._ineffective_rules() if is_error))
        yield from self._renamed_from_errors()
        yield from fleet_config_errors(self.fleet, self.canaries)
        yield from _prefix_paths("store", store_config_errors(self.store))
        if self.fleet is not None and self.store.is_shared:
            message = "divides the canaries among replicas that share nothing; with store.url they share all: remove it"
            yield ConfigIssue(("fleet",), message)
        if self.region is not None and self.telemetry.resource.get(CLOUD_REGION, self.region) != self.region:
            message = f"is not the region of this daemon, which is {self.region} by the key region; remove one of them"
            yield ConfigIssue(("telemetry", "resource", CLOUD_REGION), message)
        yield from budget_config_errors(self.budget, self.targets, self.canaries, replicas=self.replicas)
        for name, target in self.targets.items():
            yield from _prefix_paths("targets", _prefix_paths(name, tls_file_errors(target)))
            if isinstance(target, AzureTarget) and target.identity is not None and not azure_identity.is_installed():
                yield ConfigIssue(("targets", name, "identity"), azure_identity.INSTALL)
        for name, receiver in self.alerts.receivers.items():
            yield from _prefix_paths(
                "alerts", _prefix_paths("receivers", _prefix_paths(name, tls_file_errors(receiver.connection_settings)))
            )

    def config_warnings(self) -> Iterator[ConfigIssue]:
        """Yield the config warnings: valid settings that are probably not intended; paths start at the root."""
        yield from _prefix_paths("canaries", canary_warnings(self.canaries, self.targets))
        routing = routing_issues(self.alerts, self.to_canaries(), self.member_instance, replicas=self.replicas)
        yield from _prefix_paths("alerts", routing)
        yield from _prefix_paths("alerts", (warning for warning, is_error in self._ineffective_rules() if not is_error))
        if self.heartbeat is not None and self.replicas > 1:
            message = (
                f"all {self.replicas} members of fleet request this URL, so requests stop only when none of them is "
                "alive; remove it: the alerts FleetSilent and FleetAbsent of streamcanary rules --fleet tell of members"
            )
            yield ConfigIssue(("heartbeat",), message)
        if self.region is not None and "instance" not in self.model_fields_set and self.alerts.receivers:
            message = (
                "instance is the default in all regions: a notification of one has the key of another, and resolves "
                "it; write instance, with the region in it"
            )
            yield ConfigIssue(("region",), message)
        if not self.web.enabled and self.telemetry.otlp is None and not self.alerts.receivers:
            message = "the results go nowhere: add telemetry.otlp or a receiver, or remove enabled: false for /metrics"
            yield ConfigIssue(("web", "enabled"), message)
        if (
            self.telemetry.content
            and self.web.enabled
            and self.web.bearer_token is None
            and not is_loopback(self.web.host)
        ):
            message = "anyone who reaches web.host can read prompts and answers; set web.token_file, or remove it"
            yield ConfigIssue(("telemetry", "content"), message)

    def _ineffective_rules(self) -> Iterator[IneffectiveRule]:
        canaries, rules = self.to_canaries(), {name: rule for name, rule in self.alerts.rules.items() if rule.enabled}
        canaries_by_rule = {
            name: [canary.name for canary in canaries if rule.applies_to(canary)] for name, rule in rules.items()
        }
        limits = {
            name: CanaryLimits(
                has_slo=spec.slo != Slo(), max_seconds=spec.timeouts.upper_bounds, short_answer=spec.short_answer
            )
            for name, spec in self.canaries.items()
        }
        return ineffective_rules(rules, canaries_by_rule, limits)

    def _renamed_from_errors(self) -> Iterator[ConfigIssue]:
        """Yield an error for each ``renamed_from`` that another canary uses: both would share their alerts."""
        owners = {name: name for name, spec in self.canaries.items() if not spec.renamed_from}
        for name, spec in self.canaries.items():
            former, path = spec.renamed_from, ("canaries", name, "renamed_from")
            if former == name:
                yield ConfigIssue(path, "is the current name of this canary; write its former name, or remove the key")
            elif former and owners.setdefault(former, name) != name:
                yield ConfigIssue(
                    path,
                    f"canary {owners[former]} uses the name {former} already; write another name, or remove the key",
                )


def _replicas(info: ValidationInfo) -> int:
    """Return the replicas of the fleet, which is validated before the sections that are scaled to it."""
    fleet = info.data.get("fleet")
    return fleet.replicas if isinstance(fleet, FleetConfig) else 1


def _prefix_paths(key: str, issues: Iterable[ConfigIssue]) -> Iterator[ConfigIssue]:
    for issue in issues:
        yield issue._replace(path=(key, *issue.path))


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the configuration in the YAML file at ``path``, with the variables and overrides of ``environ``.

    Relative paths, the default of ``store.path`` included, are relative to the directory of the file: the working
    directory of the daemon does not matter.

    Raises:
        ConfigInvalid: with all config errors.
    """
    source = YamlAndEnvSource(Settings, path, environ)
    document = source.document
    cross_section = list(_cross_section_problems(document))
    problems = _without_duplicates(document.problems, [*type_mismatches(document, source.shape), *cross_section])
    try:
        settings = Settings(_build_sources=((source,), {}))
    except ValidationError as error:
        problems = _without_duplicates(problems, explain_validation_error(error, document, source.shape))
    else:
        errors = settings.config_errors() if not cross_section else ()
        problems = _without_duplicates(problems, [document.problem_at(error.path, error.message) for error in errors])
    if problems:
        raise ConfigInvalid(problems)
    if not settings.store.is_shared:
        store = settings.store.model_copy(update={"path": path.absolute().parent / settings.store.path})
        settings = settings.model_copy(update={"store": store})
    settings._content_hash = document.content_hash
    settings._warnings = sort_problems(
        document.problem_at(warning.path, warning.message) for warning in settings.config_warnings()
    )
    return settings


def _without_duplicates(problems: list[Problem], further: list[Problem]) -> list[Problem]:
    """Return ``problems`` and those of ``further`` whose value has no problem yet."""
    reported = {(problem.path, problem.variable) for problem in problems}
    return [*problems, *(problem for problem in further if (problem.path, problem.variable) not in reported)]


def _cross_section_problems(document: Document) -> Iterator[Problem]:
    """Yield the problems between sections.

    Reads the data and not the models, so that an error in another place does not hide these.
    """
    targets, canaries = (_as_map(document.data.get(section)) for section in ("targets", "canaries"))
    if document.data.get("canaries") == {}:
        yield document.problem_at(("canaries",), "needs at least one canary")
    for name, spec in canaries.items():
        fallbacks = spec.get("fallbacks") if isinstance(spec, dict) else ()
        fallbacks = fallbacks if isinstance(fallbacks, list) else ()
        for place in [("target",), *(("fallbacks", number, "target") for number in range(len(fallbacks)))]:
            path = ("canaries", name, *place)
            target = document.get(path)
            if isinstance(target, str) and target not in targets:
                known = ", ".join(targets) or "none"
                yield document.problem_at(path, f"there is no target {target!r}; known: {known}")


def _as_map(section: Any) -> dict[str, Any]:
    return section if isinstance(section, dict) else {}
