"""Makes the waterfall of a recorded run whose spans are no longer in memory: its attempts have the same phases."""

from datetime import UTC, datetime

from streamcanary.model import names
from streamcanary.model.outcome import Attempt, Outcome
from streamcanary.model.run_trace import RunSummary, RunTrace, SpanAttribute, TraceEvent, TraceSpan

_PHASES = {
    "dns": names.PHASE_DNS,
    "connect": names.PHASE_CONNECT,
    "tls": names.PHASE_TLS,
    "headers": names.PHASE_HEADERS,
    "first_token": names.PHASE_FIRST_TOKEN,
    "streaming": names.PHASE_STREAMING,
}


def trace_of(outcome: Outcome) -> RunTrace:
    """Return ``outcome`` as a run with one span for each attempt."""
    run = RunSummary(
        run_id=outcome.run_id,
        trace_id=outcome.trace_id or "",
        canary=outcome.canary,
        target=outcome.target,
        outcome=outcome.kind.value,
        started=datetime.fromtimestamp(outcome.started, UTC),
        duration=outcome.duration,
        attempts=len(outcome.attempts),
        fault=None if outcome.fault is None else outcome.fault.kind.value,
        message="" if outcome.fault is None else str(outcome.fault),
    )
    attempts = [_attempt_span(attempt, outcome.started) for attempt in outcome.attempts]
    call = TraceSpan(
        name="chat", span_id="", offset=0.0, duration=outcome.duration, attributes=_facts(outcome), children=attempts
    )
    root = TraceSpan(name=names.RUN_SPAN, span_id="", offset=0.0, duration=outcome.duration, children=[call])
    return RunTrace(run=run, root=root)


def _attempt_span(attempt: Attempt, run_started: float) -> TraceSpan:
    offset = max(0.0, attempt.started - run_started)
    attributes: dict[str, SpanAttribute] = {_PHASES[name]: value for name, value in attempt.phases.items()}
    attributes[names.ATTEMPT_ROUTE] = attempt.route
    fault = attempt.fault
    if fault is not None:
        attributes |= {names.ATTEMPT_FAULT: fault.kind.value, names.ATTEMPT_BLAME: fault.blame.value}
        attributes[names.ATTEMPT_PHASE] = fault.phase.value
        if fault.status is not None:
            attributes[names.HTTP_STATUS] = fault.status
    if attempt.connection is not None:
        attributes[names.ATTEMPT_CONNECTION] = attempt.connection
    if attempt.request_id:
        attributes[names.HTTP_REQUEST_ID] = [attempt.request_id]
    events = []
    if attempt.time_to_first_token is not None:
        events.append(TraceEvent(name=names.FIRST_TOKEN_EVENT, offset=offset + attempt.time_to_first_token))
    return TraceSpan(
        name=names.ATTEMPT_SPAN,
        span_id="",
        offset=offset,
        duration=attempt.duration,
        status="unset" if fault is None else "error",
        message="" if fault is None else fault.message,
        attributes=attributes,
        events=events,
    )


def _facts(outcome: Outcome) -> dict[str, SpanAttribute]:
    found: dict[str, SpanAttribute] = {}
    if outcome.model:
        found[names.RESPONSE_MODEL] = outcome.model
    if outcome.finish_reason:
        found[names.RESPONSE_FINISH_REASONS] = [outcome.finish_reason]
    if outcome.usage is not None:
        found |= {names.USAGE_INPUT: outcome.usage.input_tokens, names.USAGE_OUTPUT: outcome.usage.output_tokens}
    if outcome.max_gap is not None:
        found[names.CALL_MAX_GAP] = outcome.max_gap
    return found
