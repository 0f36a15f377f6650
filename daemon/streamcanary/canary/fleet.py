"""The ``fleet:`` section: many replicas of one configuration, which share schedule and budget without talking.

Each member runs every canary N times less often, at a phase of its own, with one Nth of the budget. So N members make
the runs, and have the costs, that the configuration says.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from streamcanary.canary.spec import DEFAULT_EVERY, CanarySpec
from streamcanary.model.config_types.config_issue import ConfigIssue, raise_config_errors
from streamcanary.model.config_types.duration import MAX_SECONDS, format_duration, parse_duration


class FleetConfig(BaseModel):
    """The fleet of which this daemon is one member, such as the sidecars of a Deployment.

    ``replicas`` is the approximate number of members: they need not know it exactly. ``member`` is the name of this
    one, such as that of its pod; it is required if there are others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    replicas: Annotated[int, Field(ge=1, le=10_000)]
    member: Annotated[str, Field(min_length=1, max_length=253)] | None = None

    @model_validator(mode="after")
    def _check_member(self) -> "FleetConfig":
        if self.replicas > 1 and self.member is None:
            raise ValueError("needs the key member with more than one replica: a name of its own, such as ${POD_NAME}")
        return self


def scale_intervals(canaries: Any, replicas: int) -> Any:
    """Return ``canaries``, as they are in the configuration, with each ``every`` multiplied by ``replicas``.

    This is before their validation, because other defaults and limits depend on ``every``. Invalid values stay as they
    are, for the validation to report.

    Raises:
        ValidationError: if an interval is longer than a duration can be.
    """
    if replicas == 1 or not isinstance(canaries, dict):
        return canaries
    return {name: _scale_interval(name, spec, replicas) for name, spec in canaries.items()}


def _scale_interval(name: str, spec: Any, replicas: int) -> Any:
    if not isinstance(spec, dict) or "cron" in spec:
        return spec
    try:
        every = parse_duration(spec.get("every", DEFAULT_EVERY))
    except ValueError:
        return spec
    if every * replicas > MAX_SECONDS:
        message = f"{format_duration(every)} times fleet.replicas, {replicas}, is longer than ten years; write less"
        raise_config_errors("canaries", [ConfigIssue((name, "every"), message)])
    return {**spec, "every": every * replicas}


def fleet_config_errors(fleet: FleetConfig | None, canaries: Mapping[str, CanarySpec]) -> Iterator[ConfigIssue]:
    """Yield the config errors of canaries in ``fleet``: with ``cron`` all members would run at the same moment."""
    if fleet is None or fleet.replicas == 1:
        return
    for name, spec in canaries.items():
        if spec.cron:
            message = (
                f"cannot be divided among the {fleet.replicas} members of fleet, which would all run at once; "
                "write every, or run this canary in a daemon of its own"
            )
            yield ConfigIssue(("canaries", name, "cron"), message)
