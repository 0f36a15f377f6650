"""Finished runs as values."""

from datetime import UTC, datetime
from typing import Any

from streamcanary.model.run_trace import RunSummary, RunTrace, TraceSpan

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
