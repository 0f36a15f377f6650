"""Gives the components of a running daemon other parts of the configuration."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from streamcanary.alerting.service.heartbeat import HeartbeatTask
from streamcanary.alerting.service.service import AlertingService
from streamcanary.alerting.service.shared.shared_alerting import SharedAlerting
from streamcanary.canary.owned_canaries import OwnedCanaries
from streamcanary.canary.preflight.diagnostics import FailureDiagnostics
from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.scheduling.run_slots import run_limits
from streamcanary.canary.scheduling.scheduler import Scheduler
from streamcanary.canary.spend.guard import SpendGuard, prices_by_canary
from streamcanary.canary.status.statuses import CanaryStatuses
from streamcanary.settings import Settings
from streamcanary.telemetry.providers import Telemetry
from streamcanary.transport.file_descriptors import limit_warning, raise_limit
from streamcanary.web.authorization import Authorizer

if TYPE_CHECKING:
    from streamcanary.app.replication import Replication

_log = logging.getLogger(__name__)


class ReloadableParts:
    """The components that a reload gives other parts of the configuration."""

    def __init__(
        self,
        settings: Settings,
        *,
        telemetry: Telemetry,
        spend_guard: SpendGuard,
        runners: CanaryRunners,
        alerting: AlertingService | SharedAlerting,
        diagnostics: FailureDiagnostics,
        statuses: CanaryStatuses,
        scheduler: Scheduler | OwnedCanaries,
        authorizer: Authorizer,
        heartbeat: HeartbeatTask,
        on_reload: Callable[[Settings], None] | None,
        show_series: Callable[[], None],
        replication: "Replication | None" = None,
    ) -> None:
        self._current = self._prepared = settings
        self._telemetry = telemetry
        self._spend_guard = spend_guard
        self._runners = runners
        self._alerting = alerting
        self._diagnostics = diagnostics
        self._statuses = statuses
        self._scheduler = scheduler
        self._authorizer = authorizer
        self._heartbeat = heartbeat
        self._on_reload = on_reload
        self._show_series = show_series
        self._replication = replication

    def prepare(self, settings: Settings) -> None:
        """Do all that can fail, without effect."""
        prices = prices_by_canary(settings.budget, settings.targets, settings.canaries)
        self._spend_guard.prepare(settings.budget, settings.canaries, prices)
        self._runners.prepare(settings.targets, settings.canaries, prices, members=settings.replicas)
        runners = self._runners.prepared.values()
        self._scheduler.prepare(
            runners,
            instance=settings.member_instance,
            max_concurrent_runs=max_concurrent_runs(settings),
            starts_at_phase=settings.replicas > 1,
        )
        self._alerting.prepare(settings.alerts, settings.member_instance, [runner.canary for runner in runners])
        if self._replication is not None:
            self._replication.prepare(settings, [runner.canary for runner in runners])
        if settings.telemetry != self._current.telemetry:
            self._telemetry.prepare(settings.telemetry)
        self._prepared = settings

    def apply(self) -> None:
        """Apply what was prepared. The budget and alerting know a canary before it runs."""
        before, settings = self._current, self._prepared
        self._current = settings
        if self._on_reload is not None:
            self._on_reload(settings)
        if settings.telemetry != before.telemetry:
            self._telemetry.apply()
        self._spend_guard.apply()
        self._runners.apply()
        self._alerting.apply()
        self._diagnostics.configure(settings.targets, settings.canaries)
        self._statuses.configure(self._runners.canaries, instance=settings.member_instance)
        self._scheduler.apply()
        self._authorizer.configure(settings.web)
        self._heartbeat.configure(settings.heartbeat)
        if self._replication is not None:
            self._replication.apply()
        self._show_series()
        check_file_descriptors(settings)


def max_concurrent_runs(settings: Settings) -> dict[str, int | None]:
    """Return the configured limits of runs at once, by target."""
    return {name: target.max_concurrent_runs for name, target in settings.targets.items()}


def check_file_descriptors(settings: Settings) -> None:
    """Log a warning if the canaries may need more file descriptors than the process can have."""
    limits = run_limits(settings.to_canaries(), max_concurrent_runs(settings))
    if too_many := limit_warning(sum(limits.values()), raise_limit()):
        _log.warning("too few file descriptors", extra={"problem": too_many})
