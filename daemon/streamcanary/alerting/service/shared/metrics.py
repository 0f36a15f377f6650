"""Metrics of alerting that replicas share: what waits for its owner, and what its database has rejected or lost."""

from opentelemetry import metrics

from streamcanary import __version__
from streamcanary.model import names


class SharedAlertMetrics:
    """The instruments of a replica, whether it owns alerting or not."""

    def __init__(self) -> None:
        meter = metrics.get_meter(names.INSTRUMENTATION_SCOPE, __version__)
        pending, rejected, restored = (
            names.REPLICA_PENDING_INPUTS,
            names.REPLICA_ROWS_REJECTED,
            names.REPLICA_ALERTS_RESTORED,
        )
        self._pending = meter.create_gauge(pending.name, pending.unit, pending.description)
        self._rejected = meter.create_counter(rejected.name, rejected.unit, rejected.description)
        self._restored = meter.create_counter(restored.name, restored.unit, restored.description)
        self.record_pending_inputs(0)
        self._rejected.add(0)
        self._restored.add(0)

    def record_pending_inputs(self, count: int) -> None:
        """Record how many inputs of replicas wait for this one, which owns alerting; 0 if it does not."""
        self._pending.set(count)

    def record_rejected(self, count: int) -> None:
        """Count rows of alerting that the database rejects."""
        self._rejected.add(count)

    def record_restored(self) -> None:
        """Count a database that had older alerts, and that got those in memory."""
        self._restored.add(1)
