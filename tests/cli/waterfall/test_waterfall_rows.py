"""The rows of a waterfall: spans, phases and waits."""

from streamcanary.cli.waterfall.rows import Row, waterfall_rows
from support.telemetry.run_traces import make_attempt, make_trace


def summary(row: Row) -> tuple[int, str, str, float, float, str]:
    """Return the depth, kind, label, times and note of a row."""
    return len(row.is_last), row.kind, row.label, round(row.start, 3), round(row.duration, 3), row.note


def test_attempts_follow_their_call_with_waits_between_them() -> None:
    """A wait is a row of its own, which says what follows: a retry, or another route."""
    trace = make_trace(
        make_attempt(0.0, 1.0, "stalled"), make_attempt(1.5, 1.0, "stalled"), make_attempt(2.75, 1.0, route="other")
    )
    assert [
        (0, "ok", "streamcanary.run", 0.0, 3.75, "ok"),
        (1, "ok", "chat gpt", 0.0, 3.75, ""),
        (2, "error", "attempt 1, gpt", 0.0, 1.0, "HTTP 200, stalled"),
        (2, "wait", "wait", 1.0, 0.5, "before the retry"),
        (2, "error", "attempt 2, gpt", 1.5, 1.0, "HTTP 200, stalled"),
        (2, "wait", "wait", 2.5, 0.25, "then fallback to other"),
        (2, "ok", "attempt 3, other", 2.75, 1.0, "HTTP 200"),
    ] == [summary(row) for row in waterfall_rows(trace)]


def test_attempts_that_follow_at_once_have_no_wait() -> None:
    """A wait of less than a millisecond is left out."""
    trace = make_trace(make_attempt(0.0, 1.0, "stalled"), make_attempt(1.0005, 1.0))
    assert "wait" not in [row.kind for row in waterfall_rows(trace)]


def test_phases_follow_their_attempt_one_after_the_other() -> None:
    """The phases that an attempt has are stacked in their order, and end with it."""
    phases = {f"streamcanary.phase.{name}.duration": 0.25 for name in ("streaming", "headers", "connect")}
    rows = waterfall_rows(make_trace(make_attempt(0.75, 1.0, **{**phases, "streamcanary.connection": "new"})))
    assert "HTTP 200, new connection" == rows[2].note
    assert [
        (3, "phase", "connect", 1.0, 0.25, ""),
        (3, "phase", "headers", 1.25, 0.25, ""),
        (3, "phase", "streaming", 1.5, 0.25, ""),
    ] == [summary(row) for row in rows[3:]]


def test_the_first_token_splits_an_attempt() -> None:
    """A row has the time of the first token, ``None`` if there was none."""
    rows = waterfall_rows(make_trace(make_attempt(0.0, 1.0, "stalled"), make_attempt(1.0, 1.0)))
    assert [None, None, None, 1.5] == [row.first_token for row in rows]
