"""Records runs that are due and do not start: in the log, in metrics, and as outcomes."""

import logging
from collections.abc import Callable, Iterable
from typing import Final
from uuid import uuid4

from opentelemetry.context import Context

from streamcanary.canary.metrics import CanaryMetrics
from streamcanary.canary.scheduling.load_shedding import LoadShedder
from streamcanary.canary.scheduling.run_slots import LimitLog
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.outcome import BudgetState, Outcome, OutcomeKind

_log = logging.getLogger(__name__)

_LIMIT_LOG_INTERVAL: Final = 60.0  # seconds between two lines in the log about one target at its limit, or about load
_LIMIT_REASON: Final = "concurrency"
_SHED_REASON: Final = "behind_schedule"


class SkippedRuns:
    """Records the runs that do not start, and passes an outcome of each to ``on_outcome``."""

    def __init__(
        self, clock: Clock, metrics: CanaryMetrics, shedder: LoadShedder, on_outcome: Callable[[Outcome], None]
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._shedder = shedder
        self._on_outcome = on_outcome
        self._at_limit: dict[str, LimitLog] = {}
        self._shed = LimitLog(_LIMIT_LOG_INTERVAL)

    def set_targets(self, targets: Iterable[str]) -> None:
        """Forget what was logged about targets other than these."""
        self._at_limit = {name: self._at_limit.get(name) or LimitLog(_LIMIT_LOG_INTERVAL) for name in targets}

    def record(
        self,
        canary: Canary,
        due: float,
        reason: str,
        explanation: str,
        count: int = 1,
        state: BudgetState | None = None,
    ) -> None:
        """Record ``count`` runs of ``canary``, the last of them ``due`` at this time (seconds since the epoch).

        ``reason`` is one of :data:`~streamcanary.canary.metrics.MISSED_REASONS`.
        """
        # The spend guard logs an exhausted budget once; a warning for each run of each canary would flood the log.
        # The same holds for a target at its limit and for a daemon that is behind, about which others are logged.
        is_logged = state is None and reason not in (_LIMIT_REASON, _SHED_REASON)
        _log.log(
            logging.WARNING if is_logged else logging.DEBUG,
            "canary runs missed",
            extra={"canary": canary.name, "reason": reason, "explanation": explanation, "count": count},
        )
        self._metrics.record_missed(canary, reason, count)
        outcome = Outcome(
            run_id=uuid4().hex,
            canary=canary.name,
            target=canary.target,
            provider=canary.provider,
            kind=OutcomeKind.SKIPPED,
            scheduled=due,
            started=self._clock.time(),
            reason=reason if count == 1 else f"{reason}: {count} runs",
            budget=state,
            behind_schedule=self._shedder.is_behind,
        )
        self._metrics.record_run(canary, outcome, Context())
        self._on_outcome(outcome)

    def record_no_slot(self, canary: Canary, due: float, limit: int) -> None:
        """Record a run that had no turn before the next one; one line a minute in the log for each target."""
        explanation = f"the target had {limit} runs at once, its limit, until the next run was due"
        self.record(canary, due, _LIMIT_REASON, explanation)
        if (count := self._at_limit[canary.target].add(self._clock.monotonic())) is not None:
            _log.warning(
                "target at its limit of concurrent runs",
                extra={"target": canary.target, "limit": limit, "missed_runs": count},
            )

    def record_shed(self, canary: Canary, due: float) -> None:
        """Record a run that is skipped because the daemon cannot make all; one line a minute in the log."""
        self.record(canary, due, _SHED_REASON, "the daemon is behind schedule, and makes a part of the due runs")
        if (count := self._shed.add(self._clock.monotonic())) is not None:
            _log.warning(
                "behind schedule",
                extra={
                    "missed_runs": count,
                    "share": self._shedder.share,
                    "late_seconds": round(self._shedder.delay, 3),
                    "hint": "give the daemon more CPU, or run canaries less often, or more replicas",
                },
            )
