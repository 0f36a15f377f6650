"""``streamcanary demo``: an outage to look at. Provider, daemon and pager in one process, over real sockets."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from streamcanary.events import AttemptFailed, Event, FallbackStarted
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.simulator import Simulator, Timeline, Timings

_DEMO_FOLDER = Path(__file__).parents[1] / "demo"
_CYCLE_SECONDS = 75.0  # seconds after which, unless --once, it all begins again
_ONCE_TIMEOUT = 85.0  # seconds after which --once gives up
_TIMINGS = Timings(retry_after=0.3)
_FAULT_DESCRIPTIONS = {
    "ok": "the provider is well",
    "cut": "the provider cuts streams in the middle",
    "stall": "the provider stalls in the middle of its answers",
    "429-retry-after-ms": "the provider says 429, too many requests",
}


class DemoSummary(Struct):
    """What happened; the last line that ``--once`` prints to stdout. Times are seconds."""

    runs: int = 0
    failed: int = 0
    attempts: int = 0
    alerts_fired: int = 0
    alerts_resolved: int = 0
    seconds_to_fire: float | None = None
    seconds_to_resolve: float | None = None


def main(arguments: argparse.Namespace) -> int:
    """Show an outage; with ``--once`` return 0 if its alerts fired and were resolved, else 1."""
    from streamcanary.telemetry import logs

    logs.configure("error")
    return asyncio.run(_run_demo(once=arguments.once))


class DemoProgress:
    """What is shown and counted of the daemon, as it happens. Where the lines go: stderr.

    The outage of ``timeline`` begins with its first phase that is not ``ok``, and is over with its last that is.
    """

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.outage_start = next(phase.at for phase in timeline.phases if phase.fault != "ok")
        self.recovery_start = next(phase.at for phase in reversed(timeline.phases) if phase.fault == "ok")
        self.summary = DemoSummary()
        self.finished = asyncio.Event()
        self._started = time.monotonic()
        self._open_incidents: set[str] = set()
        self._notified_groups: set[str] = set()

    def restart_clock(self) -> None:
        """Start the clock, with the timeline."""
        self._started = time.monotonic()

    def print_line(self, text: str) -> None:
        """Print a line with the time since the beginning."""
        print(f"{time.monotonic() - self._started:6.1f}s  {text}", file=sys.stderr, flush=True)

    def on_event(self, canary: Canary, event: Event) -> None:
        """Show faults and what is done about them."""
        match event:
            case AttemptFailed(attempt=attempt, next_delay=delay):
                next_step = (
                    "gives up" if delay is None else f"next attempt in {format_duration(delay)}" if delay else "no wait"
                )
                fault = attempt.fault
                self.print_line(
                    f"  {canary.name}: attempt {attempt.number}: {fault.kind if fault else ''}, {next_step}"
                )
            case FallbackStarted(route=route):
                self.print_line(f"  {canary.name}: falls back to {route}")

    def on_outcome(self, outcome: Outcome) -> None:
        """Show and count a run."""
        if outcome.kind is OutcomeKind.SKIPPED:
            return
        self.summary.runs += 1
        self.summary.failed += outcome.kind in (OutcomeKind.FAILED, OutcomeKind.FAILED_OVER)
        self.summary.attempts += len(outcome.attempts)
        first = outcome.time_to_first_token
        timing = f", first token after {format_duration(first)}" if first is not None else ""
        self.print_line(f"{outcome.canary}: {outcome.kind.value} after {format_duration(outcome.duration)}{timing}")

    def on_transition(self, incident: Incident) -> None:
        """Count an incident that has opened or is over."""
        elapsed = time.monotonic() - self._started
        if incident.is_firing:
            self.summary.alerts_fired += 1
            self._open_incidents.add(incident.key)
            if self.summary.seconds_to_fire is None:
                self.summary.seconds_to_fire = round(elapsed - self.outage_start, 1)
        else:
            self.summary.alerts_resolved += 1
            self._open_incidents.discard(incident.key)
            self.summary.seconds_to_resolve = round(elapsed - self.recovery_start, 1)
        self._check_finished()

    def on_notification(self, notification: dict[str, Any]) -> None:
        """Show what the pager was told. As any that knows alerts by their key, it drops the end of one it has not."""
        if notification["type"] == "alert.resolved" and notification["key"] not in self._notified_groups:
            return
        state = {"alert.fired": "FIRING", "alert.updated": "UPDATED", "alert.resolved": "RESOLVED"}[
            notification["type"]
        ]
        self.print_line(f"PAGE  {state}  {notification['title']}")
        for alert in notification["alerts"]:
            self._print_alert(alert)
        if notification["type"] == "alert.resolved":
            self._notified_groups.discard(notification["key"])
        else:
            self._notified_groups.add(notification["key"])
        self._check_finished()

    def _print_alert(self, alert: dict[str, Any]) -> None:
        """Show one alert of a page."""
        evidence = alert["evidence"]
        if alert["resolved"] is not None:
            self.print_line(f"      {alert['canary']}: {alert['reason']}")
            return
        counts = ", ".join(f"{kind} {count}x" for kind, count in evidence["faults"].items())
        self.print_line(f"      {alert['canary']}: {evidence['bad']} of {evidence['total']} runs bad; {counts}")
        self.print_line(f"      last: {evidence['message']}")
        if evidence["diagnosis"]:
            self.print_line(f"      diagnosis: {evidence['diagnosis']}")
        self.print_line(f"      resolves after {alert['resolves']}")

    def _check_finished(self) -> None:
        resolved = self.summary.alerts_resolved
        if (
            resolved
            and resolved == self.summary.alerts_fired
            and not self._open_incidents
            and not self._notified_groups
        ):
            self.finished.set()


async def _run_demo(*, once: bool) -> int:
    from streamcanary.app import DaemonCallbacks, run_daemon
    from streamcanary.cli.demo.webhook_receiver import WebhookReceiver
    from streamcanary.cli.signals import stop_on_signal
    from streamcanary.settings import load

    stop, demo = stop_on_signal(), DemoProgress(Timeline.load(_DEMO_FOLDER / "demo-timeline.yaml"))
    callbacks = DaemonCallbacks(on_event=demo.on_event, on_outcome=demo.on_outcome, on_transition=demo.on_transition)
    with tempfile.TemporaryDirectory(prefix="streamcanary-demo-") as folder:
        async with (
            WebhookReceiver(demo.on_notification) as receiver,
            Simulator(timeline=demo.timeline, timings=_TIMINGS) as provider,
        ):
            settings = load(
                _DEMO_FOLDER / "demo.yaml",
                {
                    "DEMO_PROVIDER": provider.base_url,
                    "DEMO_PAGER": receiver.url,
                    "DEMO_PAGER_SECRET": receiver.secret,
                    "DEMO_FOLDER": folder,
                },
            )
            demo.print_line("three canaries stream from a simulated provider, two seconds apart")
            provider.restart_timeline()
            demo.restart_clock()
            async with asyncio.TaskGroup() as tasks:
                narration = tasks.create_task(_narrate_phases(demo, provider, stop, once=once))
                await run_daemon(settings, stop, callbacks=callbacks)
                narration.cancel()
    summary = demo.summary
    if once:
        print(msgspec.json.encode(summary).decode(), flush=True)
        return 0 if demo.finished.is_set() else 1
    return 0


async def _narrate_phases(demo: DemoProgress, provider: Simulator, stop: asyncio.Event, *, once: bool) -> None:
    """Tell when the provider changes, and see to the end: of the demo with ``once``, else of each cycle."""
    while True:
        phases = demo.timeline.phases
        for now, then in zip(phases, (*phases[1:], None), strict=True):
            demo.print_line(f"--- {_FAULT_DESCRIPTIONS.get(now.fault, f'the provider plays {now.fault}')} ---")
            if then is not None:
                await asyncio.sleep(then.at - now.at)
        try:
            async with asyncio.timeout((_ONCE_TIMEOUT if once else _CYCLE_SECONDS) - demo.recovery_start):
                await demo.finished.wait()
                if once:
                    break
                demo.print_line("all alerts are resolved; the next outage comes soon, Ctrl-C ends the demo")
                await asyncio.Event().wait()
        except TimeoutError:
            if once:
                break
        demo.finished.clear()
        provider.restart_timeline()
        demo.restart_clock()
    stop.set()
