"""Draws the live view: what is broken in one sentence, the canaries, what fires, and the last log lines.

All texts come from outside: control characters are removed, and each one is cut to the width that it has.
"""

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.redaction.printable import printable
from streamcanary.model.status.canary_status import CanaryState, CanaryStatus, RecentRun
from streamcanary.model.status.summary import OverallState, StatusSummary

_ORDER = (CanaryState.FAILING, CanaryState.DEGRADED, CanaryState.SLOW, CanaryState.UNKNOWN, CanaryState.OK)
_MARKS = {
    CanaryState.OK: ("✓", "green"),
    CanaryState.SLOW: ("~", "yellow"),
    CanaryState.DEGRADED: ("↷", "magenta"),
    CanaryState.FAILING: ("✗", "red"),
    CanaryState.UNKNOWN: ("?", "bright_black"),
}
_OVERALL = {
    OverallState.OK: "bold green",
    OverallState.DEGRADED: "bold yellow",
    OverallState.FAILING: "bold red",
    OverallState.UNKNOWN: "bold",
}
_RUNS = {  # each outcome has another height, so that a terminal without colours shows it, too
    "ok": ("▂", "green"),
    "slow": ("▄", "yellow"),
    "failed_over": ("▆", "magenta"),
    "failed": ("█", "red"),
}
_OTHER_RUN = ("·", "bright_black")
_MAX_ALERTS = 5
_MAX_LOG_LINES = 5
_MIN_HEIGHT = 10  # lines of a terminal with alerts below its canaries
_MIN_CANARIES = 3  # lines of canaries, which come before log lines
_LOG_LINE = re.compile(r"[\d-]{10}T([\d:]{8})\S* +\[(\w+) *\]")
_LOGGER = re.compile(r" \[streamcanary[\w.]*\]")
_WIDE, _MEDIUM, _NARROW = 100, 72, 50  # columns of the terminal
_MIN_STRIP, _MAX_STRIP = 10, 60


class LiveView(Struct, frozen=True, kw_only=True):
    """What the view shows. ``summary`` is ``None`` before the first status is known.

    ``connection`` says where it comes from, or that it is old; ``is_stale`` then. ``alerts`` are lines about firing
    alerts, ``canary_count`` the canaries that there are, also those left out. ``now`` is seconds since the epoch.
    """

    now: float
    connection: str
    is_stale: bool = False
    summary: StatusSummary | None = None
    canaries: Sequence[CanaryStatus] = ()
    canary_count: int = 0
    alerts: Sequence[str] = ()
    alert_count: int = 0
    log_lines: Sequence[str] = ()


def render(view: LiveView, width: int, height: int) -> RenderableType:
    """Return the view for a terminal of ``width`` columns and ``height`` lines.

    The title, the sentence and its detail are always there, in four lines: a screen cuts off what it has no room for.
    """
    head = [_title(view, width), *_sentence(view)]
    alerts = list(_alert_lines(view, max(1, min(_MAX_ALERTS, (height - 8) // 3)))) if height >= _MIN_HEIGHT else []
    room = height - len(head) - len(alerts) - 2  # a blank line, and the head of the table
    log_count = min(_MAX_LOG_LINES, height // 5, room - 1 - min(_MIN_CANARIES, len(view.canaries)))
    log = [_line(_short_log_line(line), "bright_black") for line in [*view.log_lines][-log_count:] if log_count > 0]
    room -= len(log) + 1 if log else 0
    parts: list[RenderableType] = [*head, Text()]
    if room > 0 and view.canaries:
        parts.append(_canary_table(view, width, room))
    parts += [*alerts, *([Text()] if log else []), *log]
    return Group(*parts)


def _title(view: LiveView, width: int) -> Text:
    left = "streamcanary"
    if view.summary is not None:
        uptime = format_duration(max(0.0, view.now - view.summary.started))
        left += f" {printable(view.summary.version, 20)}  {printable(view.summary.instance, 60)}  up {uptime}"
    right = printable(view.connection, 200)
    if view.is_stale and width < Text(left + right).cell_len + 2:
        left = ""  # that what is shown is old matters more
    text = Text(left, "bright_black", no_wrap=True, overflow="ellipsis")
    space = width - text.cell_len - Text(right).cell_len
    return text.append(" " * max(2 if left else 0, space)).append(
        right, "bold yellow" if view.is_stale else "bright_black"
    )


def _sentence(view: LiveView) -> Iterator[Text]:
    if view.summary is None:
        yield Text("waiting for the first status", "bold")
        return
    summary = view.summary
    since = ""
    if summary.since is not None:
        since = f"  (for {format_duration(max(0.0, view.now - summary.since))})"
    yield _line(printable(summary.sentence, 1000) + since, _OVERALL[summary.state])
    yield _line(printable(summary.detail, 1000))


def _canary_table(view: LiveView, width: int, room: int) -> Table:
    """Return the canaries, the worst first, in ``room`` lines below the head of the table."""
    ordered = sorted(view.canaries, key=lambda each: _ORDER.index(each.state))
    has_more = view.canary_count > room
    shown = ordered[: max(1, room - 1)] if has_more else ordered
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, expand=True, header_style="bright_black")
    strip = max(_MIN_STRIP, min(_MAX_STRIP, width - 90))
    table.add_column("STATE", width=10, no_wrap=True)
    table.add_column("CANARY", ratio=2, no_wrap=True, overflow="ellipsis")
    if width >= _WIDE:
        table.add_column("MODEL", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("LAST RUNS", width=strip, no_wrap=True)
    if width >= _NARROW:
        table.add_column("FAILED 1h", width=11, no_wrap=True)
    if width >= _MEDIUM:
        table.add_column("FIRST TOKEN", width=13, no_wrap=True)
    if width >= _WIDE:
        table.add_column("NEXT", width=6, no_wrap=True)
    for canary in shown:
        table.add_row(*_canary_row(canary, view.now, width, strip))
    if len(shown) < view.canary_count and room > 1:
        table.add_row(Text(), Text(f"and {view.canary_count - len(shown)} more", "bright_black"))
    return table


def _canary_row(canary: CanaryStatus, now: float, width: int, strip: int) -> list[Text]:
    mark, style = _MARKS[canary.state]
    row = [Text(f"{mark} {canary.state.value}", style), _line(printable(canary.name, 200))]
    if width >= _WIDE:
        row.append(_line(printable(canary.model, 200), "bright_black"))
    row.append(_strip(canary.recent_runs[-strip:]))
    if width >= _NARROW:
        row.append(Text(_error_rates(canary)))
    if width >= _MEDIUM:
        row.append(Text(_first_tokens(canary)))
    if width >= _WIDE:
        row.append(Text(_next_run(canary, now), "bright_black"))
    return row


def _next_run(canary: CanaryStatus, now: float) -> str:
    if canary.next_run is None:
        return ""
    seconds = round(max(0.0, canary.next_run - now))
    return format_duration(seconds) if seconds else "now"


def _strip(runs: Sequence[RecentRun]) -> Text:
    text = Text()
    for run in runs:
        text.append(*_RUNS.get(run.outcome, _OTHER_RUN))
    return text


def _error_rates(canary: CanaryStatus) -> str:
    """Return the part of the runs of the last hour that failed, and before retries if that is more."""
    hour = canary.hour
    if hour is None or hour.error_rate is None or hour.first_attempt_error_rate is None:
        return "-"
    after, before = f"{hour.error_rate * 100:.0f}%", f"{hour.first_attempt_error_rate * 100:.0f}%"
    return after if after == before else f"{after} ({before})"


def _first_tokens(canary: CanaryStatus) -> str:
    if canary.hour is not None and (percentiles := canary.hour.first_token) is not None:
        return f"{format_duration(percentiles.p50)} {format_duration(percentiles.p95)}"
    measured = [run.first_token for run in canary.recent_runs if run.first_token is not None]
    return format_duration(measured[-1]) if measured else "-"


def _alert_lines(view: LiveView, count: int) -> Iterator[Text]:
    if not view.alerts:
        return
    yield Text()
    for line in view.alerts[:count]:
        yield _line(f"FIRING  {printable(line, 500)}", "red")
    if (more := view.alert_count - count) > 0:
        yield _line(f"and {more} more firing", "red")


def _short_log_line(line: str) -> str:
    """Return a line of the console log with the time of day only, without its logger, and with single spaces."""
    found = _LOG_LINE.match(line)
    rest = line if found is None else f"{found[1]} {found[2]} {_LOGGER.sub('', line[found.end() :], count=1)}"
    return " ".join(rest.split())


def _line(text: str, style: str = "") -> Text:
    """Return untrusted text as one line of the screen."""
    return Text(printable(text, 2000), style, no_wrap=True, overflow="ellipsis")
