"""A replica of a soak: the real coordinator, recorder and alerting on a machine of its own."""

import asyncio
import contextlib
import functools
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, Final
from unittest.mock import patch

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.notify.receivers.pagerduty import PagerDuty
from streamcanary.alerting.service import dispatcher_set
from streamcanary.alerting.service.metrics import AlertMetrics
from streamcanary.alerting.service.setup import Setup, create_setup
from streamcanary.alerting.service.shared import input_feed, shared_alerting, stored_alerts
from streamcanary.alerting.service.shared.shared_alerting import SharedAlerting
from streamcanary.model.canary import Canary
from streamcanary.model.replicas import ALERTS, Membership, Ownership
from streamcanary.replicas.coordinator import Coordinator
from streamcanary.replicas.run_recorder import RunRecorder
from streamcanary.store.errors import SessionLost, StoreError
from support.alerting.memory_alerts import MemoryAlertStore
from support.memory_lease_store import MemoryAlertConnection, MemoryConnection, MemoryDatabase, MemoryLeaseStore
from support.simulated_time import Machine, World
from support.soak.canary_loop import CanaryLoop
from support.soak.fleet import Fleet, RunLedger
from support.soak.pagerduty import PagerDutyEvents
from support.soak.scale import Scale

_EVIDENCE_INTERVAL: Final = 60.0  # seconds: that of fifty replicas, which nobody looks at, would take most of the time


def alerts_config(scale: Scale) -> AlertsConfig:
    """Return two rules and the built-in ones, each alert in a group of its own."""
    page = {"severity": "page"}
    ratio = {"type": "ratio", "over": f"{round(scale.interval / 3)}s", "threshold": "50%"}
    rules: dict[str, Any] = {
        "CanaryFails": {"detector": {"type": "consecutive", "failures": 3}, "labels": page},
        "TargetFails": {"detector": ratio, "per": ["target"], "labels": page},
        "NoData": {"match": ['watched="yes"']},  # it checks each canary every five seconds
        "CertificateExpiring": {"enabled": False},  # no run of a soak reports a certificate
        "CertificateExpiringSoon": {"enabled": False},
    }
    return AlertsConfig.model_validate(
        {
            "rules": rules,
            "receivers": {"pager": {"type": "pagerduty", "routing_key": "0" * 32, "url": "http://pagerduty.invalid"}},
            "group_by": ["alert", "canary", "target"],
        }
    )


class Surroundings:
    """What all replicas of a soak share."""

    def __init__(self, scale: Scale, world: World, database: MemoryDatabase, fleet: Fleet, ledger: RunLedger) -> None:
        self.scale, self.world, self.database, self.fleet, self.ledger = scale, world, database, fleet, ledger
        self.config = alerts_config(scale)


class SoakReplica:
    """One life of a replica, from its start to its end."""

    def __init__(self, around: Surroundings, name: str, random: Random) -> None:
        self.name = name
        self.machine = Machine(around.world, offset=random.uniform(-5, 5))
        self.connection = MemoryConnection(around.database, latency=0.01, random=random)
        leases = MemoryLeaseStore(self.connection)
        self.coordinator = Coordinator(
            leases, name=name, ttl=around.scale.lease, poll=around.scale.poll, clock=self.machine, random=random
        )
        self.recorder = RunRecorder(leases, self.coordinator, random=random)
        self.canaries = CanaryLoop(around.fleet, around.ledger, self.machine, self.coordinator, self.recorder, random)
        self.alerting = SharedAlerting(
            config=around.config,
            instance="soak",
            canaries=around.fleet.canaries,
            store=MemoryAlertStore(around.database.alerts),
            inputs=MemoryAlertConnection(self.connection),
            owner=self._owner_of_alerts,
            is_valid=self.coordinator.is_valid,
            clock=self.machine,
            input_delay=around.scale.lease + 5.0,
            random=random,
        )
        self.alerting.on_lease_lost = self._report_lost
        self.coordinator.on_membership = self._observe_membership
        self.coordinator.add_user(self.canaries)
        self.coordinator.add_user(self.alerting)
        self._database = around.database
        self.dropped = 0
        """Runs that a crash has dropped."""

    def start(self) -> "SoakReplica":
        """Start the process."""
        self.machine.start(self.recorder.__aenter__())
        self.machine.start(self.alerting.run())
        self.machine.start(self.coordinator.__aenter__())
        return self

    def stop(self) -> "asyncio.Task[None]":
        """Stop the process, as SIGTERM does."""
        return self.machine.start(self.coordinator.hand_over())

    def kill(self) -> None:
        """End the process at once."""
        self.dropped = self.recorder.waiting
        self.canaries.interrupt()
        self.connection.is_cut = True
        self.machine.crash()
        self.canaries.end()

    def owns_alerts(self) -> bool:
        """Return whether this replica owns the alerts, as the database knows."""
        lease = self._database.leases.get(ALERTS)
        return lease is not None and lease.session is not None and lease.session == self.coordinator.session

    def _owner_of_alerts(self) -> Ownership | None:
        session, epoch = self.coordinator.session, self.coordinator.epoch(ALERTS)
        return None if session is None or epoch is None else Ownership(session, epoch)

    def _observe_membership(self, membership: Membership) -> None:
        self.alerting.observe_membership(membership)

    def _report_lost(self, error: StoreError, owner: Ownership) -> None:
        if isinstance(error, SessionLost):
            self.coordinator.report_session_lost(owner.session)
        else:
            self.coordinator.report_refused()


class _NoMetrics(AlertMetrics):
    """Keeps no series: those of each canary in each replica would be most of the memory."""

    def configure(self, *_: Any) -> None:
        """Do nothing."""
        self._has_waiting.clear()

    def update(self, *_: Any) -> None:
        """Do nothing."""


@contextlib.contextmanager
def many_in_one_process(scale: Scale, events: PagerDutyEvents) -> Iterator[None]:
    """Let replicas share what they would each make of the one configuration, and send to ``events``."""

    @functools.lru_cache(maxsize=2)
    def shared_setup(config: int, instance: str, canaries: int, keys: tuple[Any, ...]) -> Setup:
        return create_setup(known[config], instance, known[canaries], dict(keys))

    known: dict[int, Any] = {}

    def cached_setup(config: AlertsConfig, instance: str, canaries: Sequence[Canary], keys: Any = ()) -> Setup:
        known[id(config)], known[id(canaries)] = config, canaries
        return shared_setup(id(config), instance, id(canaries), tuple(dict(keys).items()))

    with (
        # With an empty database, PagerDuty would get a resolve of each possible alert, for what a lost one had sent.
        patch.object(PagerDuty, "can_reconcile", False),
        patch.object(shared_alerting, "create_setup", cached_setup),
        patch.object(shared_alerting, "AlertMetrics", _NoMetrics),
        patch.object(stored_alerts, "POLL_INTERVAL", scale.poll),
        patch.object(stored_alerts, "EVIDENCE_INTERVAL", _EVIDENCE_INTERVAL),
        patch.object(input_feed, "POLL_INTERVAL", scale.feed),
        patch.object(dispatcher_set, "open_http_client", lambda *_: _client(events)),
    ):
        yield


def _client(events: PagerDutyEvents) -> Any:
    import httpx2

    return httpx2.AsyncClient(transport=events.transport(), trust_env=False)
