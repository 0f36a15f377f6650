"""Prints runs and diagnoses on a terminal, with the control characters of the provider's text removed."""

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from streamcanary.events import (
    AttemptFailed,
    AttemptStarted,
    ContentDelta,
    Event,
    FallbackStarted,
    RefusalDelta,
    Restarted,
)
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.diagnosis import Diagnosis, StepState
from streamcanary.model.fault_words import describe_fault
from streamcanary.model.outcome import Attempt, Outcome
from streamcanary.model.redaction.redactor import Redactor, scrub
from streamcanary.model.redaction.stream import StreamRedactor

_STATE_LABELS = {StepState.OK: "ok", StepState.FAILED: "FAILED", StepState.SKIPPED: "-", StepState.UNKNOWN: "?"}
_MAX_SHOWN = 4000  # characters of one chunk of an answer


class EventPrinter:
    """Prints the answer as it arrives, and the failed attempts. ``redactors`` are those of the canaries, by name.

    The beginning of a possible secret is held back until it is known how it continues.
    """

    def __init__(self, redactors: Mapping[str, Callable[[], Redactor]]) -> None:
        self._redactors = redactors
        self._stream = StreamRedactor(Redactor())

    def __call__(self, canary: Canary, event: Event) -> None:
        """Print ``event`` of a run of ``canary``."""
        if isinstance(event, (ContentDelta, RefusalDelta)):
            print(_sanitize(self._stream.feed(event.delta)), end="", flush=True)
            return
        print(_sanitize(self._stream.flush()), end="", flush=True)
        match event:
            case AttemptStarted():
                self._stream = StreamRedactor(self._redactors[canary.name]())
            case AttemptFailed(attempt=attempt, next_delay=delay):
                next_attempt = "" if delay is None else f"; next attempt in {format_duration(delay)}"
                fault = describe_fault(attempt.fault) if attempt.fault else ""
                print(f"\n  ! {fault}{next_attempt}", flush=True)
            case FallbackStarted(route=route):
                print(f"  > falling back to {route}", flush=True)
            case Restarted():
                print("  > the answer restarts", flush=True)


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """Print the steps of a diagnosis as a table: state, name, duration and message."""
    for step in diagnosis.steps:
        duration = "" if step.state is StepState.SKIPPED else f"{step.seconds * 1000:.0f} ms"
        print(f"  {_STATE_LABELS[step.state]:<6}  {step.name:<7}  {duration:>7}  {step.message}")
        if step.remedy:
            print(f"{'':27}> {step.remedy}")
    print(flush=True)


def print_outcome(outcome: Outcome) -> None:
    """Print the attempts, the timings and the outcome of a run."""
    print()
    for attempt in outcome.attempts:
        print(f"  {format_attempt(attempt)}")
    timings = [f"total {format_duration(outcome.duration)}"]
    if outcome.time_to_first_token is not None:
        timings.insert(0, f"first token after {format_duration(outcome.time_to_first_token)}")
    if outcome.max_gap is not None:
        timings.insert(-1, f"longest gap {format_duration(outcome.max_gap)}")
    if (speed := outcome.output_speed) is not None:
        estimated = ", estimated" if speed.is_estimated else ""
        timings.append(f"{speed.tokens_per_second:.3g} tokens/s{estimated}")
    if outcome.usage is not None:
        estimated = ", estimated: the provider reports impossible counts" if outcome.usage.is_estimated else ""
        timings.append(f"{outcome.usage.input_tokens} tokens in, {outcome.usage.output_tokens} out{estimated}")
    print(f"  {', '.join(timings)}")
    if reported := _format_reported(outcome):
        print(f"  {reported}")
    reason = f": {describe_fault(outcome.fault)}" if outcome.fault else f": {outcome.reason}" if outcome.reason else ""
    print(f"  {outcome.kind.value.upper()}{reason}", flush=True)
    sys.stdout.flush()


def _format_reported(outcome: Outcome) -> str:
    """Return what the provider reported besides the answer, as one line; ``""`` if nothing."""
    parts = [f"answered by {outcome.model}"] if outcome.model else []
    if outcome.system_fingerprint:
        parts.append(f"fingerprint {outcome.system_fingerprint}")
    if outcome.service_tier:
        parts.append(f"service tier {outcome.service_tier}")
    for kind, quota in outcome.rate_limits.by_type() if outcome.rate_limits is not None else ():
        if quota.remaining is not None:
            total = f" of {quota.limit}" if quota.limit is not None else ""
            parts.append(f"{quota.remaining}{total} {kind} left")
    if (retirement := outcome.retirement) is not None:
        sunset = retirement.sunset
        until = "" if sunset is None else f", until {datetime.fromtimestamp(sunset, UTC):%Y-%m-%d}"
        parts.append(f"deprecated{until}")
    return ", ".join(parts)


def format_attempt(attempt: Attempt) -> str:
    """Return an attempt as one line."""
    delay = f" after a delay of {format_duration(attempt.delay)}" if attempt.delay else ""
    result = describe_fault(attempt.fault) if attempt.fault else "answered"
    phases = ", ".join(
        f"{name.replace('_', ' ')} {format_duration(seconds)}" for name, seconds in attempt.phases.items()
    )
    times = f"{format_duration(attempt.duration)}: {phases}" if phases else format_duration(attempt.duration)
    return f"attempt {attempt.number} on {attempt.route}{delay}: {result} ({times})"


def _sanitize(text: str) -> str:
    """Return ``text`` without control characters, with its white space at both ends."""
    stripped = text.strip(" \n")
    if not stripped:
        return text
    lead, tail = text[: len(text) - len(text.lstrip(" \n"))], text[len(text.rstrip(" \n")) :]
    return lead + scrub(stripped, limit=_MAX_SHOWN, lines=True) + tail
