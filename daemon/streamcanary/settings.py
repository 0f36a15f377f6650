"""The whole configuration: the rooms' own sections under one roof, and what must hold between them."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.heartbeat import HeartbeatConfig
from streamcanary.canary.budget import BudgetConfig
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.spend import budget_misfits
from streamcanary.canary.target import TargetSpec
from streamcanary.model.canary import Canary
from streamcanary.model.misfit import Misfit
from streamcanary.settings_sources.document import Document
from streamcanary.settings_sources.explain import explain
from streamcanary.settings_sources.problem import ConfigInvalid, Problem, render
from streamcanary.settings_sources.source import FileAndEnvironment
from streamcanary.store.config import StoreConfig
from streamcanary.telemetry.config import TelemetryConfig
from streamcanary.web.config import WebConfig

__all__ = ["ConfigInvalid", "Problem", "Settings", "load", "render"]

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$", max_length=63)]
"""The name of a target or canary."""


class Settings(BaseSettings):
    """A configuration that holds together.

    ``instance`` is part of every key that a receiver sees, and shared by replicas that watch the same things.
    """

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    instance: Annotated[str, Field(min_length=1, max_length=200)] = "default"
    targets: dict[Name, TargetSpec]
    canaries: dict[Name, CanarySpec]
    alerts: AlertsConfig = Field(default_factory=AlertsConfig)
    budget: BudgetConfig = Field(default_factory=BudgetConfig)
    telemetry: TelemetryConfig = Field(default_factory=TelemetryConfig)
    heartbeat: HeartbeatConfig | None = None
    store: StoreConfig = Field(default_factory=StoreConfig)
    web: WebConfig = Field(default_factory=WebConfig)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leave out the sources that guess; :func:`load` brings its own."""
        return (init_settings,)

    def describe(self) -> tuple[Canary, ...]:
        """Return what the other rooms may know of the canaries."""
        return tuple(spec.describe(name, self.targets[spec.target]) for name, spec in self.canaries.items())

    def renamed_twice(self) -> Iterator[Misfit]:
        """Return which canaries would share their alerts with another."""
        taken = {name: name for name, spec in self.canaries.items() if not spec.renamed_from}
        for name, spec in self.canaries.items():
            former = spec.renamed_from
            if former and taken.setdefault(former, name) != name:
                message = f"two canaries cannot be known as {former}: {taken[former]} is, too"
                yield Misfit(("canaries", name, "renamed_from"), message)


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the configuration in the YAML file at ``path``, with the variables and overrides of ``environ``.

    Relative paths in it, the default of ``store.path`` included, start at the folder of the file: a daemon that is
    started from elsewhere finds the same store.

    Raises:
        ConfigInvalid: with every problem that was found.
    """
    source = FileAndEnvironment(Settings, path, environ)
    document = source.document
    crossing = list(_between_sections(document))
    problems = _without_repeats(document.problems, crossing)
    try:
        settings = Settings(_build_sources=((source,), {}))
    except ValidationError as error:
        problems = _without_repeats(problems, explain(error, document, source.shape))
    else:
        for misfit in settings.alerts.problems(settings.describe()) if not crossing else ():
            problems.append(document.problem(("alerts", *misfit.path), misfit.message))
        for misfit in settings.renamed_twice():
            problems.append(document.problem(misfit.path, misfit.message))
        for misfit in budget_misfits(settings.budget, settings.targets, settings.canaries) if not crossing else ():
            problems.append(document.problem(misfit.path, misfit.message))
    if problems:
        raise ConfigInvalid(problems)
    store = settings.store.model_copy(update={"path": path.absolute().parent / settings.store.path})
    return settings.model_copy(update={"store": store})


def _without_repeats(problems: list[Problem], further: list[Problem]) -> list[Problem]:
    """Return both, but no further problem with a value that has one."""
    known = {(problem.path, problem.variable) for problem in problems}
    return [*problems, *(problem for problem in further if (problem.path, problem.variable) not in known)]


def _between_sections(document: Document) -> Iterator[Problem]:
    """Yield what is wrong between sections that may each be right.

    Looks at the data, not at the models, so that a mistake elsewhere does not hide these.
    """
    targets, canaries = (_names(document.data.get(section)) for section in ("targets", "canaries"))
    if document.data.get("canaries") == {}:
        yield document.problem(("canaries",), "needs at least one canary: there is nothing to watch")
    for name, spec in canaries.items():
        fallbacks = spec.get("fallbacks") if isinstance(spec, dict) else ()
        fallbacks = fallbacks if isinstance(fallbacks, list) else ()
        for place in [("target",), *(("fallbacks", number, "target") for number in range(len(fallbacks)))]:
            path = ("canaries", name, *place)
            target = document.get(path)
            if isinstance(target, str) and target not in targets:
                known = ", ".join(targets) or "none"
                yield document.problem(path, f"there is no target {target!r}; known: {known}")


def _names(section: Any) -> dict[str, Any]:
    return section if isinstance(section, dict) else {}
