"""Reports what happens to the leases of this replica: in the log, as metrics, and why it owns nothing."""

import logging
from collections.abc import Collection, Mapping
from typing import Final

from streamcanary.model.replicas import TakenLease
from streamcanary.replicas.metrics import LossReason, ReplicaMetrics

_log = logging.getLogger(__name__)

_MAX_NAMES: Final = 8  # of resources in a line of the log


class LeaseReport:
    """The log and the metrics of the replica ``name``.

    ``problem`` says why the last request to the database failed, or why there is no session; ``standby`` why this
    replica may own nothing. Both are empty if there is no reason. A failure that lasts is logged once.
    """

    def __init__(self, name: str) -> None:
        self.problem = "it has not joined yet"
        self.standby = ""
        self._name = name
        self._metrics = ReplicaMetrics()
        self._is_failing = False

    def record_failure(self, problem: str) -> None:
        """Record that the database has not answered a request."""
        if not self._is_failing:
            _log.warning("lease renewal failed", extra={"error": problem})
        self._is_failing, self.problem = True, problem

    def record_renewal(self, seconds: float) -> None:
        """Record that the leases are renewed, and how long that took."""
        self._metrics.record_renewal(seconds)
        if self._is_failing:
            _log.info("leases are renewed again", extra={"replica": self._name})
        self._is_failing, self.problem = False, ""

    def record_standby(self, standby: str) -> None:
        """Record why this replica may own nothing, or that it may."""
        if standby and standby != self.standby:
            _log.warning("replica stands by", extra={"replica": self._name, "reason": standby})
        elif self.standby and not standby:
            _log.info("replica stands by no longer", extra={"replica": self._name})
        self.standby = standby
        self._metrics.record_standby(is_standby=bool(standby))

    def record_taken(self, taken: Mapping[str, TakenLease]) -> None:
        """Record that this replica owns resources that it did not."""
        for lease in taken.values():
            if lease.takeover is not None:
                self._metrics.record_takeover(lease.takeover)
        if taken:
            _log.info("leases gained", extra=_describe(taken))

    def record_released(self, resources: Collection[str]) -> None:
        """Record that others may own ``resources``."""
        _log.info("leases released", extra=_describe(resources))

    def record_lost(self, session: int, resources: Collection[str], reason: LossReason) -> None:
        """Record that this replica may not own ``resources`` any more."""
        self._metrics.record_lost(len(resources), reason)
        _log.warning("leases lost", extra={"reason": reason.value, "session": session, **_describe(resources)})

    def record_owned(self, resources: Collection[str]) -> None:
        """Record what this replica owns."""
        self._metrics.record_owned(resources)


def _describe(resources: Collection[str]) -> dict[str, object]:
    """Return how many ``resources`` there are, and which."""
    names = sorted(resources)
    return {
        "count": len(names),
        "resources": ", ".join(names[:_MAX_NAMES]) + (", …" if len(names) > _MAX_NAMES else ""),
    }
