"""Recorded runs: outcomes whose attempts have phases."""

from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind, PhaseDurations
from streamcanary.model.status.canary_status import RecentRun


def make_outcome(canary: str, run: RecentRun, message: str = "no token for 5 s") -> Outcome:
    """Return ``run`` as a recorded one: a failed one has attempts that stalled, with growing waits between them."""
    kind = OutcomeKind(run.outcome)
    failed = kind in (OutcomeKind.FAILED, OutcomeKind.FAILED_OVER)
    fault = make_fault(FaultKind.STALLED, Phase.STREAM, message, request_id="req_1") if failed else None
    attempts, started = [], run.started
    for number in range(1, run.attempts + 1):
        answered = not failed or (kind is OutcomeKind.FAILED_OVER and number == run.attempts)
        phases = PhaseDurations(
            dns=0.01 if number == 1 else None,
            connect=0.03 if number == 1 else None,
            tls=0.05 if number == 1 else None,
            headers=0.2,
            first_token=0.3,
            streaming=0.6 if answered else 2.9,
        )
        duration = sum(seconds for _, seconds in phases.items())
        attempts.append(
            Attempt(
                number=number,
                route="gpt-4.1-mini" if failed and answered else "gpt-4o-mini",
                started=started,
                duration=duration,
                fault=None if answered else fault,
                time_to_first_token=duration - (phases.streaming or 0.0),
                request_id=f"req_{number}",
                delay=0.0 if number == 1 else 0.5 * number,
                phases=phases,
                connection="new" if number == 1 else "reused",
            )
        )
        started += duration + 0.5 * (number + 1)
    return Outcome(
        run_id=run.run_id,
        canary=canary,
        target="openai",
        provider="openai",
        kind=kind,
        scheduled=run.started,
        started=run.started,
        duration=attempts[-1].started + attempts[-1].duration - run.started if attempts else 0.0,
        fault=fault,
        reason="budget" if kind is OutcomeKind.SKIPPED else None,
        attempts=tuple(attempts),
        time_to_first_token=run.first_token,
        model=None if kind is OutcomeKind.FAILED else "gpt-4o-mini-2026-04-14",
        trace_id="f" * 32,
    )
