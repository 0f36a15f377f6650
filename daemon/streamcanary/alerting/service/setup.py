"""What the alerting service makes of one configuration."""

from collections.abc import Sequence
from typing import NamedTuple

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.service.status import StatusBuilder
from streamcanary.model.canary import Canary


class Setup(NamedTuple):
    """A configuration, the canaries that it watches, and the parts that are made of them."""

    config: AlertsConfig
    canaries: tuple[Canary, ...]
    engine: Engine
    status_builder: StatusBuilder


def create_setup(config: AlertsConfig, instance: str, canaries: Sequence[Canary]) -> Setup:
    """Return the setup of a configuration."""
    engine = Engine(config, instance, canaries)
    return Setup(config, tuple(canaries), engine, StatusBuilder(config, engine))


def rescheduled_canaries(before: Setup, after: Setup) -> frozenset[str]:
    """Return the identities of the canaries that are new, or have another schedule than before."""
    schedules = {canary.identity: canary.schedule for canary in before.canaries}
    return frozenset(canary.identity for canary in after.canaries if schedules.get(canary.identity) != canary.schedule)
