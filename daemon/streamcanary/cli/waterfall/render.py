"""Draws rows as text: a tree of labels, a bar on a common time axis, the duration, and a note.

Every text of a run is printed without control characters: a provider or the server at ``--url`` wrote it.
"""

import math
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence

from msgspec import Struct

from streamcanary.cli.waterfall.rows import Row, attempts_of, waterfall_rows
from streamcanary.model import names
from streamcanary.model.fault_words import FIXERS, fault_words
from streamcanary.model.outcome import OutcomeKind
from streamcanary.model.redaction.printable import printable
from streamcanary.model.run_trace import RunTrace, TraceSpan

MIN_WIDTH = 60
"""Columns that a waterfall needs; a narrower terminal wraps its lines."""

_MIN_BAR = 16
_MAX_LABEL = 44
_DURATION_WIDTH = 8
_MAX_NOTE = 34
_MAX_CONTENT = 4000  # characters of a prompt or an answer
_RESET = "\x1b[0m"
_COLORS: dict[str, str] = {
    "ok": "\x1b[32m",
    "error": "\x1b[31m",
    "phase": "\x1b[36m",
    "wait": "\x1b[2m",
    "bold": "\x1b[1m",
}
_DRAWN_EVENTS = frozenset({names.FIRST_TOKEN_EVENT, names.RETRY_SCHEDULED_EVENT})
_MAX_DEPTH = 8  # of spans, as in the rows
_GOOD = frozenset({OutcomeKind.OK.value, OutcomeKind.SLOW.value})


class Style(Struct, frozen=True, kw_only=True):
    """How to draw: ``width`` in columns, with ANSI colors or not, with box-drawing characters or ASCII only."""

    width: int = 100
    has_color: bool = False
    is_ascii: bool = False

    def paint(self, text: str, color: str) -> str:
        """Return ``text`` in ``color``."""
        return f"{_COLORS[color]}{text}{_RESET}" if self.has_color and text else text


def render_trace(trace: RunTrace, style: Style) -> list[str]:
    """Return the lines of a run: what it is, its waterfall, its faults in words, and its content if it was recorded."""
    rows = waterfall_rows(trace)
    lines = [*_heading(trace, style), "", *_waterfall(rows, style)]
    if trace.omitted_spans:
        lines.append(f"{trace.omitted_spans} more attempts are not kept")
    details = [*_fault_lines(trace, style), *_event_lines(trace.root, style)]
    lines += [*([""] if details else []), *details, *_content_lines(trace, style)]
    return [line.replace("…", "~") for line in lines] if style.is_ascii else lines


def format_seconds(seconds: float) -> str:
    """Return a duration with three digits: ``1.2 ms``, ``512 ms``, ``5.41 s``, ``1 m 12 s``."""
    if not math.isfinite(seconds) or seconds >= 1e7:
        return "-"
    if seconds < 1e-6:
        return "0 ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    return f"{int(seconds // 60)} m {int(seconds % 60)} s"


def _heading(trace: RunTrace, style: Style) -> Iterator[str]:
    run = trace.run
    color = "ok" if run.outcome in _GOOD else "error"
    outcome = style.paint(_clean(run.outcome, 40).upper(), color)
    yield f"{style.paint(_clean(run.canary, 100), 'bold')} on {_clean(run.target, 100)}: {outcome}"
    yield from (style.paint(line, color) for line in _wrap(_run_message(trace), 0, style))
    attempts = f"{run.attempts} attempt{'' if run.attempts == 1 else 's'}"
    yield f"{run.started:%Y-%m-%d %H:%M:%S} UTC, took {format_seconds(run.duration)}, {attempts}"
    yield f"run {_clean(run.run_id, 64)}, trace {_clean(run.trace_id, 64)}"


def _waterfall(rows: Sequence[Row], style: Style) -> Iterator[str]:
    labels = [_tree_prefix(row, style) + _clean(row.label, 200) for row in rows]
    notes = [_clean(row.note, 2 * _MAX_NOTE) for row in rows]
    note_width = min(max(map(_columns, notes), default=0), _MAX_NOTE)
    width = max(style.width, MIN_WIDTH)
    label_width = min(max(map(_columns, labels)), _MAX_LABEL)
    if (bar_width := width - label_width - _DURATION_WIDTH - note_width - 6) < _MIN_BAR:  # the notes go first
        note_width = max(0, note_width - (_MIN_BAR - bar_width))
        bar_width = width - label_width - _DURATION_WIDTH - note_width - 6
    if bar_width < _MIN_BAR:
        label_width, bar_width = max(12, label_width - (_MIN_BAR - bar_width)), _MIN_BAR
    end = max((row.start + row.duration for row in rows if math.isfinite(row.start + row.duration)), default=0.0)
    scale = f"0{format_seconds(end).rjust(bar_width - 1)}"
    yield f"{'':{label_width}}  {scale}".rstrip()
    for row, label, note in zip(rows, labels, notes, strict=True):
        bar = style.paint(_bar(row, end, bar_width, style), row.kind)
        duration = format_seconds(row.duration).rjust(_DURATION_WIDTH)
        beside, below = note, list[str]()
        if _columns(note) > note_width and row.label.startswith("attempt "):  # what the heading does not say
            indent = _columns(_tree_prefix(row, style)) + 2
            lines = textwrap.wrap(note, max(20, width - indent), break_on_hyphens=False)
            beside, below = "", [" " * indent + line for line in lines]
        yield f"{_fit(label, label_width)}  {bar}  {duration}  {_fit(beside, note_width)}".rstrip()
        yield from below


def _bar(row: Row, end: float, width: int, style: Style) -> str:
    """Return the bar of ``row``, ``width`` columns; at least one is filled."""
    scale = width / end if end > 0 and math.isfinite(end) else 0.0
    first = _column(row.start * scale, width)
    last = max(first + 1, _column((row.start + row.duration) * scale, width + 1))
    full, light, faint = "#=." if style.is_ascii else "█▒░"
    cells = {"wait": faint}.get(row.kind, full) * (last - first)
    if row.first_token is not None and row.kind != "phase":
        split = min(max(_column(row.first_token * scale, width), first), last - 1)
        cells = light * (split - first) + full * (last - split)
    return f"{' ' * first}{cells}".ljust(width)[:width]


def _column(position: float, width: int) -> int:
    return min(max(0, round(position)), width - 1) if math.isfinite(position) else 0


def _tree_prefix(row: Row, style: Style) -> str:
    if not row.is_last:
        return ""
    bar, corner, tee = ("|  ", "`- ", "|- ") if style.is_ascii else ("│  ", "└─ ", "├─ ")
    stems = "".join("   " if is_last else bar for is_last in row.is_last[:-1])
    return stems + ("  " if row.kind == "phase" else corner if row.is_last[-1] else tee)


def _fault_lines(trace: RunTrace, style: Style) -> Iterator[str]:
    address = ""
    for number, attempt in attempts_of(trace):
        if attempt.status != "error":
            continue
        attributes, title = attempt.attributes, f"attempt {number}"
        message, *more = _wrap(_in_words(attempt), len(title) + 2, style) or [""]
        yield f"{style.paint(title, 'bold')}  {style.paint(message, 'error')}"
        yield from (f"{'':{len(title)}}  {style.paint(line, 'error')}" for line in more)
        blame = str(attributes.get(names.ATTEMPT_BLAME, ""))
        request_ids = attributes.get(names.HTTP_REQUEST_ID, [])
        last_address, address = address, str(attributes.get(names.URL_FULL, ""))
        details = {
            "who can fix it": FIXERS.get(blame, blame),
            "phase": str(attributes.get(names.ATTEMPT_PHASE, "")),
            "request id": ", ".join(map(str, request_ids)) if isinstance(request_ids, list) else str(request_ids),
            "address": address if address != last_address else "",
        }
        text = "; ".join(f"{name}: {value}" for name, value in details.items() if value)
        yield from (f"{'':{len(title)}}  {line}" for line in _wrap(text, len(title) + 2, style))


def _run_message(trace: RunTrace) -> str:
    kind, message = trace.run.fault or "", trace.run.message
    return fault_words(kind) + message.removeprefix(kind) if kind and message.startswith(kind) else message


def _in_words(attempt: TraceSpan) -> str:
    """Return the message of a failed attempt, which begins with the kind of its fault, with the kind in words."""
    kind = str(attempt.attributes.get(names.ATTEMPT_FAULT, ""))
    if not kind or not attempt.message.startswith(kind):
        return attempt.message
    return fault_words(kind) + attempt.message.removeprefix(kind)


def _event_lines(span: TraceSpan, style: Style, depth: int = 0) -> Iterator[str]:
    """Yield the events that the waterfall does not draw, such as another model that answers."""
    for event in span.events:
        if event.name not in _DRAWN_EVENTS:
            values = ", ".join(f"{name}={value}" for name, value in event.attributes.items())
            yield from _wrap(f"{event.name} after {format_seconds(event.offset)}: {values}", 0, style)
    if depth < _MAX_DEPTH:
        for child in span.children:
            yield from _event_lines(child, style, depth + 1)


def _content_lines(trace: RunTrace, style: Style) -> Iterator[str]:
    for call in trace.root.children:
        for title, attribute in (
            ("instructions", names.SYSTEM_INSTRUCTIONS),
            ("input", names.INPUT_MESSAGES),
            ("output", names.OUTPUT_MESSAGES),
        ):
            if text := str(call.attributes.get(attribute, "")):
                yield from ("", style.paint(title, "bold"), *_wrap(text, 0, style, _MAX_CONTENT))


def _wrap(text: str, indent: int, style: Style, limit: int = 500) -> list[str]:
    """Return ``text`` as lines that fit into the width of ``style`` behind ``indent`` columns."""
    return textwrap.wrap(_clean(text, limit), max(20, style.width - indent), break_on_hyphens=False)


def _clean(text: str, limit: int = 500) -> str:
    return printable(text, limit)


def _fit(text: str, width: int) -> str:
    """Return ``text`` with exactly ``width`` columns: padded with spaces, or cut."""
    if (missing := width - _columns(text)) >= 0:
        return text + " " * missing
    kept, used = "", 0
    for character in text:
        size = _columns(character)
        if used + size > width - 1:
            break
        kept, used = kept + character, used + size
    return (kept + "…" + " " * (width - 1 - used)) if width else ""


def _columns(text: str) -> int:
    """Return the columns that ``text`` takes in a terminal: 2 for East Asian wide characters, 0 for combining ones."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )
