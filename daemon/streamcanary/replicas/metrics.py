"""Metrics of replicas: what this one owns, has taken over and has lost, and how long the database takes."""

from collections.abc import Collection
from enum import StrEnum

from opentelemetry import metrics

from streamcanary import __version__
from streamcanary.model import names
from streamcanary.model.replicas import ALERTS, Takeover


class LossReason(StrEnum):
    """Why this replica has lost leases."""

    EXPIRED = "expired"
    """They were not renewed in time: the database did not answer, or the process was paused."""
    FENCED = "fenced"
    """The database has ended the session: another replica found it expired."""
    TAKEN = "taken"
    """The database names another owner."""
    FAILED = "failed"
    """The work under them could not be started."""


class DropReason(StrEnum):
    """Why a run that has ended is not recorded."""

    LOST = "lost"
    """The lease of its shard was lost before it was recorded."""
    REFUSED = "refused"
    """The database names another owner of its shard."""
    FULL = "full"
    """Too many runs wait for the database."""
    REJECTED = "rejected"
    """The database rejects its values."""


class ReplicaMetrics:
    """The instruments of the leases of this replica."""

    def __init__(self) -> None:
        meter = metrics.get_meter(names.INSTRUMENTATION_SCOPE, __version__)
        self._shards, self._alerts_owner, self._standby = (
            meter.create_gauge(metric.name, metric.unit, metric.description)
            for metric in (names.REPLICA_SHARDS, names.REPLICA_ALERTS_OWNER, names.REPLICA_STANDBY)
        )
        self._takeovers, self._lost = (
            meter.create_counter(metric.name, metric.unit, metric.description)
            for metric in (names.REPLICA_TAKEOVERS, names.REPLICA_LEASES_LOST)
        )
        renewal = names.REPLICA_RENEWAL_DURATION
        self._renewal = meter.create_histogram(
            renewal.name, renewal.unit, renewal.description, explicit_bucket_boundaries_advisory=renewal.buckets
        )
        for takeover in Takeover:
            self._takeovers.add(0, {names.REASON: takeover.value})
        for loss in LossReason:
            self._lost.add(0, {names.REASON: loss.value})
        self.record_owned(())
        self.record_standby(is_standby=False)

    def record_owned(self, resources: Collection[str]) -> None:
        """Record what this replica owns."""
        owns_alerts = ALERTS in resources
        self._shards.set(len(resources) - owns_alerts)
        self._alerts_owner.set(int(owns_alerts))

    def record_standby(self, *, is_standby: bool) -> None:
        """Record whether this replica stands by, because another configuration is the current one."""
        self._standby.set(int(is_standby))

    def record_takeover(self, takeover: Takeover) -> None:
        """Count a resource that was taken."""
        self._takeovers.add(1, {names.REASON: takeover.value})

    def record_lost(self, count: int, reason: LossReason) -> None:
        """Count ``count`` leases that were lost."""
        self._lost.add(count, {names.REASON: reason.value})

    def record_renewal(self, seconds: float) -> None:
        """Record how long a renewal took."""
        self._renewal.record(seconds)


class RecorderMetrics:
    """The instrument of runs that could not be recorded."""

    def __init__(self) -> None:
        metric = names.RUNS_DROPPED
        meter = metrics.get_meter(names.INSTRUMENTATION_SCOPE, __version__)
        self._dropped = meter.create_counter(metric.name, metric.unit, metric.description)
        for reason in DropReason:
            self._dropped.add(0, {names.REASON: reason.value})

    def record_dropped(self, count: int, reason: DropReason) -> None:
        """Count ``count`` runs that are not recorded."""
        self._dropped.add(count, {names.REASON: reason.value})
