"""The verb ``demo``: shows an outage with provider, daemon and webhook receiver in one process, over real sockets."""

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from streamcanary.events import AttemptFailed, Event, FallbackStarted
from streamcanary.model.alerts.incident import Incident
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.fault_words import fault_words
from streamcanary.model.outcome import Outcome, OutcomeKind
from streamcanary.simulator import Simulator, Timeline, Timings

_DEMO_FOLDER = Path(__file__).parents[2] / "demo"
_CYCLE_SECONDS = 75.0  # seconds after which the timeline restarts with --loop
_TIMEOUT = 85.0  # seconds after which the demo gives up without --loop
_NEXT_STEPS = """\
try a real endpoint, with its key in OPENAI_API_KEY:
    streamcanary probe --base-url https://api.openai.com/v1 --model gpt-4o-mini
watch it all the time:
    streamcanary init                       # asks a few questions, and writes streamcanary.yaml
    streamcanary run -c streamcanary.yaml"""
_TIMINGS = Timings(retry_after=0.3)
_FAULT_DESCRIPTIONS = {
    "ok": "the provider is healthy",
    "cut": "the provider cuts streams off",
    "stall": "the provider stalls in the middle of answers",
    "429-retry-after-ms": "the provider answers 429 (too many requests)",
}


class DemoSummary(Struct):
    """The summary that ``--once`` prints to stdout as JSON. Times are seconds."""

    runs: int = 0
    failed: int = 0
    attempts: int = 0
    alerts_fired: int = 0
    alerts_resolved: int = 0
    seconds_to_fire: float | None = None
    seconds_to_resolve: float | None = None


def main(arguments: argparse.Namespace) -> int:
    """Run the demo; return 0 if its alerts fired and resolved, or it was interrupted, else 1.

    With ``--once``, interrupting it is 1, too, and a summary is printed to stdout.
    """
    from streamcanary.telemetry import logs

    logs.configure("error")
    if arguments.once and arguments.loop:
        print("streamcanary: --once ends after one outage, --loop never; give one of them", file=sys.stderr)
        return 2
    return asyncio.run(_run_demo(once=arguments.once, loop=arguments.loop))


class DemoProgress:
    """Prints and counts the events of the daemon. The lines go to stderr.

    The outage of ``timeline`` begins with its first phase that is not ``ok``, and ends with its last phase ``ok``.
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
        """Set the printed time to 0, when the timeline starts."""
        self._started = time.monotonic()

    def print_result(self) -> None:
        """Print what the outage looked like to somebody on call."""
        summary = self.summary
        if summary.seconds_to_fire is None or summary.seconds_to_resolve is None:
            self.print_line("the alert did not fire and resolve in time; is this machine very busy?")
            return
        self.print_line(
            f"the alert fired {summary.seconds_to_fire:g} s after the outage began, and resolved "
            f"{summary.seconds_to_resolve:g} s after it ended: {summary.failed} of {summary.runs} runs failed"
        )

    def print_line(self, text: str) -> None:
        """Print a line with the time in seconds since the start."""
        print(f"{time.monotonic() - self._started:6.1f}s  {text}", file=sys.stderr, flush=True)

    def on_event(self, canary: Canary, event: Event) -> None:
        """Print failed attempts and fallbacks."""
        match event:
            case AttemptFailed(attempt=attempt, next_delay=delay):
                fault = fault_words(attempt.fault.kind) if attempt.fault else ""
                next_step = "no further attempt"
                if delay is not None:
                    next_step = f"next attempt {f'in {format_duration(delay)}' if delay else 'at once'}"
                self.print_line(f"  {canary.name}: attempt {attempt.number}: {fault}, {next_step}")
            case FallbackStarted(route=route):
                self.print_line(f"  {canary.name}: falls back to {route}")

    def on_outcome(self, outcome: Outcome) -> None:
        """Print and count a run."""
        if outcome.kind is OutcomeKind.SKIPPED:
            return
        self.summary.runs += 1
        self.summary.failed += outcome.kind in (OutcomeKind.FAILED, OutcomeKind.FAILED_OVER)
        self.summary.attempts += len(outcome.attempts)
        first = outcome.time_to_first_token
        timing = f", first token after {format_duration(first)}" if first is not None else ""
        self.print_line(f"{outcome.canary}: {outcome.kind.value} after {format_duration(outcome.duration)}{timing}")

    def on_transition(self, incident: Incident) -> None:
        """Count an incident that opens or resolves."""
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
        """Print a notification. Like any receiver with keys, drop the resolve of an unknown key."""
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
        """Print one alert of a notification."""
        evidence = alert["evidence"]
        if alert["resolved"] is not None:
            self.print_line(f"      {alert['canary']}: {alert['reason']}")
            return
        counts = ", ".join(f"{fault_words(kind)} {count}x" for kind, count in evidence["faults"].items())
        self.print_line(f"      {alert['canary']}: {evidence['bad']} of {evidence['total']} runs failed; {counts}")
        self.print_line(f"      last error: {evidence['message']}")
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


async def _run_demo(*, once: bool, loop: bool) -> int:
    from streamcanary.app.callbacks import DaemonCallbacks, RunningDaemon
    from streamcanary.app.daemon import run_daemon
    from streamcanary.cli.demo.webhook_receiver import WebhookReceiver
    from streamcanary.cli.signals import stop_on_signal
    from streamcanary.settings import load

    request, demo = stop_on_signal(), DemoProgress(Timeline.load(_DEMO_FOLDER / "demo-timeline.yaml"))
    started: asyncio.Future[RunningDaemon] = asyncio.get_running_loop().create_future()
    callbacks = DaemonCallbacks(
        on_event=demo.on_event,
        on_outcome=demo.on_outcome,
        on_transition=demo.on_transition,
        on_started=started.set_result,
    )
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

            async def narrate() -> None:
                _print_introduction(demo, (await started).address())
                await _narrate_phases(demo, provider, request.event, loop=loop)

            async with asyncio.TaskGroup() as tasks:
                narration = tasks.create_task(narrate())
                await run_daemon(settings, request.event, callbacks=callbacks)
                was_interrupted = narration.cancel()
    if not was_interrupted:
        demo.print_result()
    if loop or not was_interrupted:  # with --loop, an interruption is the end that everybody sees
        print(f"\n{_NEXT_STEPS}", file=sys.stderr, flush=True)
    code = 0 if demo.finished.is_set() or (was_interrupted and not once) else 1
    if once:
        print(msgspec.json.encode(demo.summary).decode(), flush=True)
    request.stopped(code)
    return code


def _print_introduction(demo: DemoProgress, address: tuple[str, int] | None) -> None:
    """Print where to look, and what there is to see."""
    demo.restart_clock()
    if address is not None:
        demo.print_line(f"status page: http://{address[0]}:{address[1]}/ (open it now; it ends with the demo)")
    demo.print_line("three canaries probe a simulated provider every two seconds; it is about to fail")


async def _narrate_phases(demo: DemoProgress, provider: Simulator, stop: asyncio.Event, *, loop: bool) -> None:
    """Play the timeline and print its phases; end the demo after the outage, or with ``loop`` play it again."""
    while True:
        provider.restart_timeline()
        demo.restart_clock()
        phases = demo.timeline.phases
        for phase, next_phase in zip(phases, (*phases[1:], None), strict=True):
            demo.print_line(
                f"--- {_FAULT_DESCRIPTIONS.get(phase.fault, f'the fault of the provider is {phase.fault}')} ---"
            )
            if next_phase is not None:
                await asyncio.sleep(next_phase.at - phase.at)
        with suppress(TimeoutError):
            async with asyncio.timeout((_CYCLE_SECONDS if loop else _TIMEOUT) - demo.recovery_start):
                await demo.finished.wait()
                if loop:
                    demo.print_line("all alerts are resolved; the next outage starts soon; press Ctrl-C to stop")
                    await asyncio.Event().wait()
        if not loop:
            break
        demo.finished.clear()
    stop.set()
