"""The components of the daemon: how they are created, connected, and started one after the other.

    telemetry ─▶ store ─▶ budget ─▶ canaries ─▶ alerting ─▶ scheduler ─▶ web server ─▶ reload ─▶ leases

They stop in reverse. A reload gives them other parts of the configuration: ``prepare`` does what can fail, ``apply`` or
``configure`` takes effect. Leases are those of replicas that share the store: work begins with them, and a replica that
stops hands them over first.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from streamcanary.alerting.service.heartbeat import HeartbeatTask
from streamcanary.alerting.service.service import AlertingService
from streamcanary.app.callbacks import DaemonCallbacks, RunningDaemon
from streamcanary.app.event_logs import log_outcome, transition_callback
from streamcanary.app.outcome_batches import OutcomeBatches
from streamcanary.app.reloadable_parts import ReloadableParts, check_file_descriptors, max_concurrent_runs
from streamcanary.app.shutdown import (
    ALERTING_DRAIN_TIMEOUT,
    HAND_OVER_TIMEOUT,
    RUNS_DRAIN_TIMEOUT,
    STORE_CLOSE_TIMEOUT,
    WEB_STOP_TIMEOUT,
    Shutdown,
)
from streamcanary.app.web_routes import readiness_checks
from streamcanary.canary.loop_lag_report import LoopLagReport
from streamcanary.canary.owned_canaries import OwnedCanaries
from streamcanary.canary.preflight.diagnostics import FailureDiagnostics
from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.scheduling.scheduler import Scheduler
from streamcanary.canary.spend.guard import SpendGuard, prices_by_canary
from streamcanary.canary.status.statuses import CanaryStatuses
from streamcanary.model.canary import Canary
from streamcanary.model.clock import Clock
from streamcanary.model.outcome import Outcome
from streamcanary.reload.metrics import ConfigMetrics
from streamcanary.reload.reloader import Reloader, ReloadSource
from streamcanary.settings import Settings
from streamcanary.store.database import Store
from streamcanary.store.opening import open_store
from streamcanary.telemetry.providers import Telemetry
from streamcanary.telemetry.runs.store import RunStore
from streamcanary.telemetry.series_limit import expected_series
from streamcanary.web.api.endpoints import endpoint_routes
from streamcanary.web.api.event_feed import EventSource
from streamcanary.web.api.events import EventHub
from streamcanary.web.api.table import ApiSources, api_endpoints
from streamcanary.web.authorization import Authorizer
from streamcanary.web.health import health_routes
from streamcanary.web.liveness_file import LivenessFile
from streamcanary.web.metrics import metrics_routes
from streamcanary.web.page.live_parts import LiveParts
from streamcanary.web.page.page import page_routes
from streamcanary.web.page.sources import PageSources
from streamcanary.web.web_server import WebServer

if TYPE_CHECKING:
    from streamcanary.alerting.service.shared.shared_alerting import SharedAlerting
    from streamcanary.app.replication import Replication

_log = logging.getLogger(__name__)


class Components:
    """The components of one daemon. :meth:`start` starts them; ``stack`` stops them in reverse, within ``shutdown``.

    The settings can be reloaded from ``source``; without it they stay.
    """

    _telemetry: Telemetry
    _store: Store
    _replication: "Replication | None"
    _spend_guard: SpendGuard
    _runners: CanaryRunners
    _statuses: CanaryStatuses
    _alerting: "AlertingService | SharedAlerting"
    _evaluate: Callable[[Outcome], None]
    _diagnostics: FailureDiagnostics
    _scheduler: Scheduler
    _schedule: Scheduler | OwnedCanaries
    _show_series: Callable[[], None]
    _reloader: Reloader | None

    def __init__(
        self,
        settings: Settings,
        stack: AsyncExitStack,
        *,
        clock: Clock,
        callbacks: DaemonCallbacks,
        source: ReloadSource | None,
    ) -> None:
        self._settings = settings
        self._stack = stack
        self._clock = clock
        self._callbacks = callbacks
        self._source = source
        self._runs = RunStore()
        self._outcomes = OutcomeBatches(self._handle_outcome)
        self._authorizer = Authorizer(settings.web)
        self.shutdown = Shutdown(stack)

    async def start(self) -> None:
        """Start all components; see :func:`~streamcanary.app.daemon.run_daemon` for the errors."""
        self._start_telemetry()
        await self._open_store()
        await self._start_canaries()
        await self._start_alerting()
        self._start_schedule()
        heartbeat = await self.shutdown.enter(self._create_heartbeat())
        self._reloader = self._create_reloader(heartbeat)
        await self._start_web()
        if self._reloader is not None:
            await self.shutdown.enter(self._reloader)
        if self._replication is not None:  # the last to start, and the first to stop: it hands over at once
            await self.shutdown.enter(self._replication, HAND_OVER_TIMEOUT)

    def _start_telemetry(self) -> None:
        settings = self._settings
        self._telemetry = Telemetry(
            region=settings.region,
            expected_series=expected_series(len(settings.canaries), can_reload=self._source is not None),
            has_reduced_series=settings.has_reduced_series,
            clock=self._clock,
            runs=self._runs,
        )
        self._telemetry.prepare(settings.telemetry)
        self._telemetry.apply()
        check_file_descriptors(settings)
        self._stack.push_async_callback(self.shutdown.close_telemetry, self._telemetry)

    async def _open_store(self) -> None:
        await self.shutdown.enter(LoopLagReport())
        self._store = open_store(self._settings.store, self._clock)
        self._stack.push_async_callback(self._store.close, STORE_CLOSE_TIMEOUT)
        self._replication = _create_replication(self._settings, self._store, self._clock)

    async def _start_canaries(self) -> None:
        settings, replication, clock = self._settings, self._replication, self._clock
        self._spend_guard = await self.shutdown.enter(
            SpendGuard(
                settings.budget,
                settings.canaries,
                prices_by_canary(settings.budget, settings.targets, settings.canaries),
                clock=clock,
                store=self._store if replication is None else None,
                shared=None if replication is None else replication.spend,
            )
        )
        self._runners = await self.shutdown.enter(
            CanaryRunners(
                settings.targets,
                settings.canaries,
                clock=clock,
                spend_guard=self._spend_guard,
                on_event=self._callbacks.on_event,
                capture_content=settings.telemetry.content,
                members=settings.replicas,
                has_reduced_series=settings.has_reduced_series,
            )
        )
        if replication is None:
            await self._runners.resume(self._store)
        self._statuses = await self.shutdown.enter(
            CanaryStatuses(self._runners.canaries, instance=settings.member_instance, clock=clock)
        )

    async def _start_alerting(self) -> None:
        settings = self._settings
        self._alerting, self._evaluate = _create_alerting(
            settings, self._runners.canaries, self._store, self._replication, self._clock
        )
        self._alerting.on_transition = transition_callback(self._callbacks)
        tasks = await self._stack.enter_async_context(asyncio.TaskGroup())
        task = tasks.create_task(self._alerting.run(), name="alerting")
        self._stack.push_async_callback(_stop_alerting, self._alerting, task)
        self._diagnostics = await self.shutdown.enter(
            FailureDiagnostics(
                settings.targets, settings.canaries, clock=self._clock, on_diagnosis=self._alerting.enqueue_diagnosis
            )
        )

    def _observe(self, outcome: Outcome) -> None:
        """Record the outcome of a run for other replicas, and pass it on with others."""
        recorded = outcome if self._replication is None else self._replication.record(outcome)
        self._outcomes.add(outcome, recorded)

    def _handle_outcome(self, outcome: Outcome, recorded: Outcome | None) -> None:
        """Log the outcome of a run, and pass it on, unless it does not count."""
        log_outcome(outcome)
        if recorded is None:
            return
        self._evaluate(recorded)
        self._diagnostics.observe(recorded)
        self._statuses.observe(recorded)
        if self._callbacks.on_outcome is not None:
            self._callbacks.on_outcome(recorded)

    def _start_schedule(self) -> None:
        settings, replication, runners, statuses = self._settings, self._replication, self._runners, self._statuses
        self._scheduler = scheduler = Scheduler(
            list(runners.by_name.values()) if replication is None else [],
            instance=settings.member_instance,
            clock=self._clock,
            metrics=runners.metrics,
            on_outcome=self._observe,
            guard=self._spend_guard,
            on_clock_step=self._alerting.wake,
            max_concurrent_runs=max_concurrent_runs(settings),
            starts_at_phase=settings.replicas > 1 or replication is not None,
        )
        self._stack.callback(self._outcomes.flush)
        self._stack.push_async_callback(scheduler.drain, RUNS_DRAIN_TIMEOUT)
        scheduler.start()
        if replication is None:
            self._schedule = scheduler
            self._show_series = lambda: self._telemetry.show_canaries(runners.canaries)
        else:
            self._schedule = replication.create_schedule(settings, scheduler, runners, statuses)
            self._show_series = replication.create_series(self._telemetry, runners, self._spend_guard).update
        statuses.next_run, statuses.alerts = self._schedule.next_run, lambda: self._alerting.status
        statuses.load(self._store)

    def _create_heartbeat(self) -> HeartbeatTask:
        """Return the heartbeat; of several replicas, the owner of the alerts sends it for all."""
        config, clock, checks = self._settings.heartbeat, self._clock, self._alerting.liveness_checks()
        replication = self._replication
        if replication is None:
            return HeartbeatTask(config, clock, checks)
        checks = {**checks, **replication.liveness_checks()}
        return HeartbeatTask(config, clock, checks, lambda: replication.alerting.is_owner)

    def _create_reloader(self, heartbeat: HeartbeatTask) -> Reloader | None:
        if self._source is None:
            ConfigMetrics(self._settings, self._clock.time())
            return None
        parts = ReloadableParts(
            self._settings,
            telemetry=self._telemetry,
            spend_guard=self._spend_guard,
            runners=self._runners,
            alerting=self._alerting,
            diagnostics=self._diagnostics,
            statuses=self._statuses,
            scheduler=self._schedule,
            authorizer=self._authorizer,
            heartbeat=heartbeat,
            on_reload=self._callbacks.on_reload,
            show_series=self._show_series,
            replication=self._replication,
        )
        return Reloader(
            self._source,
            self._settings,
            parts,
            clock=self._clock,
            on_result=self._alerting.report_config,
            on_applied=self._callbacks.on_reloaded or (lambda: None),
        )

    async def _start_web(self) -> None:
        alerting, statuses, store, clock = self._alerting, self._statuses, self._store, self._clock
        replicas = None if self._replication is None else self._replication.overview
        shown = PageSources(
            canaries=statuses, recorded=store, faults=statuses, kept=self._runs, alerts=alerting, replicas=replicas
        )
        events = EventHub(EventSource(statuses, lambda: alerting.status, LiveParts(shown, clock)))
        sources = ApiSources(
            statuses=statuses,
            faults=statuses,
            recorded_runs=store,
            runs=self._runs,
            rules=alerting.view.rules,
            alerts=alerting,
            history=alerting.history,
            view=alerting.view,
            reloads=self._reloader,
            events=events,
            clock=clock,
            replicas=replicas,
        )
        routes = [
            *health_routes(readiness_checks(self._scheduler, store, self._replication)),
            *metrics_routes(self._telemetry.scraper, self._authorizer),
            *endpoint_routes(api_endpoints(sources), self._authorizer),
            *page_routes(shown, self._authorizer, clock),
        ]
        web = self._settings.web
        await self.shutdown.enter(LivenessFile(web.liveness_file))
        self._web_server = await self.shutdown.enter(
            WebServer(web, routes, retry=self._settings.fleet is None), WEB_STOP_TIMEOUT
        )
        await self.shutdown.enter(events)  # its streams end before the server does

    def report_start(self) -> None:
        """Log that the daemon has started, and call the callbacks for it."""
        extra = {"canaries": len(self._runners.by_name), "targets": len(self._settings.targets)}
        _log.info("daemon started", extra=extra)
        if self._callbacks.on_started is not None:
            self._callbacks.on_started(
                RunningDaemon(
                    statuses=self._statuses,
                    alerts=lambda: self._alerting.status,
                    address=lambda: self._web_server.address,
                )
            )
        if self._callbacks.on_ready is not None:
            self._callbacks.on_ready()


def _create_replication(settings: Settings, store: Store, clock: Clock) -> "Replication | None":
    """Return the part of this replica in the work of all; ``None`` if it does not share its store."""
    if not settings.store.is_shared:
        return None
    from streamcanary.app.replication import Replication

    return Replication(settings, store, clock)


def _create_alerting(
    settings: Settings, canaries: Sequence[Canary], store: Store, replication: "Replication | None", clock: Clock
) -> "tuple[AlertingService | SharedAlerting, Callable[[Outcome], None]]":
    """Return alerting, and the function that passes a run to it; replicas read recorded runs in their database."""
    if replication is not None:
        return replication.create_alerting(settings, canaries), lambda _: None
    alerting = AlertingService(
        config=settings.alerts, instance=settings.member_instance, canaries=canaries, store=store, clock=clock
    )
    return alerting, alerting.enqueue_outcome


async def _stop_alerting(alerting: "AlertingService | SharedAlerting", task: asyncio.Task[None]) -> None:
    await alerting.drain(ALERTING_DRAIN_TIMEOUT)
    task.cancel()
