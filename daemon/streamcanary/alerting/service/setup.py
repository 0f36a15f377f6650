"""What the alerting service makes of one configuration."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import NamedTuple

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.former_keys import FormerKeys, former_keys
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.engine.step import Engine
from streamcanary.alerting.service.status.snapshot import StatusBuilder
from streamcanary.model.canary import Canary


class Setup(NamedTuple):
    """A configuration, the canaries that it watches, and the parts that are made of them."""

    config: AlertsConfig
    canaries: tuple[Canary, ...]
    engine: Engine
    status_builder: StatusBuilder


def create_setup(
    config: AlertsConfig, instance: str, canaries: Sequence[Canary], keys: FormerKeys = MappingProxyType({})
) -> Setup:
    """Return the setup of a configuration, with the former ``keys`` of alerts that are open."""
    engine = Engine(config, instance, canaries, keys)
    return Setup(config, tuple(canaries), engine, StatusBuilder(config, engine))


def keep_open_alerts(setup: Setup, state: State) -> Setup:
    """Return ``setup`` with the keys of the open alerts in ``state`` that another ``renamed_from`` would change."""
    engine = setup.engine
    keys = former_keys(state.incidents.values(), engine.bindings, engine.instance)
    return create_setup(setup.config, engine.instance, setup.canaries, keys) if keys else setup


def rescheduled_canaries(before: Setup, after: Setup) -> frozenset[str]:
    """Return the identities of the canaries that are new, or have another schedule than before."""
    schedules = {canary.identity: canary.schedule for canary in before.canaries}
    return frozenset(canary.identity for canary in after.canaries if schedules.get(canary.identity) != canary.schedule)
