"""The page of one canary: its state in a sentence, charts, rules, faults, and its runs."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from streamcanary.model.outcome import Outcome
from streamcanary.model.status.canary_status import CanaryDetail, PeriodStatistics, RecentRun
from streamcanary.web.page import text_format
from streamcanary.web.page.drawing.chart import Chart, error_chart, latency_chart
from streamcanary.web.page.drawing.strip import BAR_HEIGHTS
from streamcanary.web.page.views.overview import STRIP_RUNS
from streamcanary.web.page.views.recorded_trace import trace_of
from streamcanary.web.page.views.run import RunView, run_seconds, run_view

MAX_DRAWN: Final = 8
"""Recorded runs that are drawn as small waterfalls."""
_PHRASES: Final = {
    "ok": "answers",
    "slow": "answers slowly",
    "degraded": "is answered by a fallback only",
    "failing": "fails",
    "unknown": "has no data",
}


class Bar(Struct, frozen=True, kw_only=True):
    """A run in the large strip: its place, state, words, and id."""

    x: int
    y: int
    height: int
    state: str
    title: str
    run_id: str


class RunPageView(Struct, frozen=True, kw_only=True):
    """A page of recorded runs: ``next`` is the cursor of the next page, ``None`` on the last one."""

    runs: tuple[Outcome, ...] = ()
    next: int | None = None


class CanaryView(Struct, frozen=True, kw_only=True):
    """What the page of a canary shows. ``unavailable`` says why the history is missing, empty if it is not.

    ``follows`` stands for statistics that do not include the runs yet; empty if no run counts.
    """

    detail: CanaryDetail
    phrase: str
    bars: tuple[Bar, ...]
    periods: tuple[tuple[str, PeriodStatistics | None], ...]
    latency: Chart | None
    errors: Chart | None
    drawn: tuple[RunView, ...]
    page: RunPageView
    unavailable: str = ""
    follows: str = ""


def canary_view(detail: CanaryDetail, page: RunPageView, now: float, unavailable: str = "") -> CanaryView:
    """Return what the page of a canary shows; ``page`` are its recorded runs, the latest first."""
    status = detail.status
    traces = [trace_of(run) for run in page.runs if run.attempts][:MAX_DRAWN]
    longest = max(map(run_seconds, traces), default=0.0)
    fault = f" ({text_format.fault_words(status.fault)})" if status.fault and status.state != "ok" else ""
    return CanaryView(
        detail=detail,
        phrase=_PHRASES[status.state.value] + fault,
        bars=tuple(_bars(status.recent_runs[-STRIP_RUNS:])),
        periods=(("1 day", status.day), ("7 days", status.week), ("30 days", status.month)),
        latency=latency_chart(status.hours, now),
        errors=error_chart(status.hours, now),
        drawn=tuple(run_view(trace, axis_end=longest) for trace in traces),
        page=page,
        unavailable=unavailable,
        follows=_follows(status.recent_runs, unavailable),
    )


def _follows(runs: Sequence[RecentRun], unavailable: str) -> str:
    if not any(run.outcome in text_format.OUTCOME_STATES for run in runs):
        return ""
    return "not known" if unavailable else "follows in some seconds"


def _bars(runs: Sequence[RecentRun]) -> list[Bar]:
    offset = STRIP_RUNS - len(runs)
    bars = []
    for index, run in enumerate(runs):
        state = text_format.OUTCOME_STATES.get(run.outcome, "unknown")
        height = round(BAR_HEIGHTS[state] * 1.8)
        words = [text_format.clock_seconds(run.started)[11:], text_format.OUTCOME_WORDS.get(run.outcome, run.outcome)]
        words += [text_format.fault_words(run.fault)] if run.fault else []
        words += [text_format.seconds(run.duration)] if run.duration else []
        x = (offset + index) * 10
        bars.append(Bar(x=x, y=36 - height, height=height, state=state, title=", ".join(words), run_id=run.run_id))
    return bars
