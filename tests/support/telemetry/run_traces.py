"""Finished runs as values."""

from datetime import UTC, datetime
from typing import Any

from streamcanary.model.run_trace import RunSummary, RunTrace, TraceEvent, TraceSpan

NOON = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def make_run(number: int, canary: str = "chat", outcome: str = "ok", **changes: Any) -> RunTrace:
    """Return run ``number`` of ``canary``, which started so many seconds after 2027-01-15T08:00:00Z.

    Its run id is ``number`` as 32 decimal digits, its trace id the same beginning with ``f``.
    """
    fields: dict[str, Any] = {
        "run_id": f"{number:032d}",
        "trace_id": f"f{number:031d}",
        "canary": canary,
        "target": "openai",
        "outcome": outcome,
        "started": datetime.fromtimestamp(NOON + number, UTC),
        "duration": 0.5,
        **changes,
    }
    root = TraceSpan(name="streamcanary.run", span_id=f"{number:016x}", offset=0.0, duration=0.5)
    return RunTrace(run=RunSummary(**fields), root=root)


def make_attempt(offset: float, duration: float, fault: str = "", *, route: str = "gpt", **more: Any) -> TraceSpan:
    """Return the span of an attempt: failed with ``fault``, or answered with a first token half way."""
    attributes: dict[str, Any] = {"streamcanary.route": route, "http.response.status_code": 200, **more}
    if fault:
        attributes |= {"streamcanary.fault": fault, "streamcanary.blame": "provider", "streamcanary.phase": "stream"}
    return TraceSpan(
        name="POST",
        span_id="0" * 16,
        offset=offset,
        duration=duration,
        status="error" if fault else "unset",
        message=f"{fault}: the reason" if fault else "",
        attributes=attributes,
        events=[] if fault else [TraceEvent(name="streamcanary.first_token", offset=offset + duration / 2)],
    )


def make_trace(*attempts: TraceSpan, **run: Any) -> RunTrace:
    """Return a run with one call that consists of ``attempts``."""
    end = max((attempt.offset + attempt.duration for attempt in attempts), default=0.0)
    call = TraceSpan(name="chat gpt", span_id="1" * 16, offset=0.0, duration=end, children=list(attempts))
    outcome = run.pop("outcome", "failed" if attempts and attempts[-1].status == "error" else "ok")
    summary = make_run(1, outcome=outcome, attempts=len(attempts), duration=end, **run).run
    root = TraceSpan(
        name="streamcanary.run",
        span_id="2" * 16,
        offset=0.0,
        duration=end,
        status="error" if outcome == "failed" else "unset",
        attributes={"streamcanary.outcome": outcome},
        children=[call],
    )
    return RunTrace(run=summary, root=root)
