"""Turns the spans of a run into the rows of a waterfall: spans, phases of an attempt, and waits before the next one."""

from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct

from streamcanary.model import names
from streamcanary.model.fault_words import fault_words
from streamcanary.model.run_trace import RunTrace, TraceSpan

RowKind = Literal["ok", "error", "phase", "wait"]

_MIN_WAIT = 0.001  # seconds; a shorter time between two attempts is no wait
_PHASES = {
    "dns": names.PHASE_DNS,
    "connect": names.PHASE_CONNECT,
    "tls": names.PHASE_TLS,
    "headers": names.PHASE_HEADERS,
    "first token": names.PHASE_FIRST_TOKEN,
    "streaming": names.PHASE_STREAMING,
}
_MAX_DEPTH = 8  # of spans below the root; a run has two


class Row(Struct, frozen=True, kw_only=True):
    """One line of a waterfall.

    ``is_last``: for each depth from 1 to that of the row, whether no further span follows below the same parent; empty
    for the root. ``start`` and ``duration``: seconds, from the start of the run. ``first_token``: when the first
    token of an attempt arrived, in the same time.
    """

    label: str
    kind: RowKind
    start: float
    duration: float
    is_last: tuple[bool, ...] = ()
    note: str = ""
    first_token: float | None = None


def waterfall_rows(trace: RunTrace) -> list[Row]:
    """Return the rows of ``trace``, from top to bottom."""
    return list(_span_rows(trace.root, (), 1))


def attempts_of(trace: RunTrace) -> list[tuple[int, TraceSpan]]:
    """Return the attempts of a run with their numbers, from 1."""
    return [
        (number, attempt)
        for call in trace.root.children
        for number, attempt in enumerate((one for one in call.children if one.name == names.ATTEMPT_SPAN), 1)
    ]


def _span_rows(span: TraceSpan, is_last: tuple[bool, ...], number: int) -> Iterator[Row]:
    label, note = _label_and_note(span, number)
    yield Row(
        label=label,
        kind="error" if span.status == "error" else "ok",
        start=span.offset,
        duration=span.duration,
        is_last=is_last,
        note=note,
        first_token=next((event.offset for event in span.events if event.name == names.FIRST_TOKEN_EVENT), None),
    )
    if len(is_last) < _MAX_DEPTH:
        yield from _phase_rows(span, is_last)
        yield from _child_rows(span.children, is_last)


def _child_rows(children: Sequence[TraceSpan], is_last: tuple[bool, ...]) -> Iterator[Row]:
    end: float | None = None
    for number, child in enumerate(children, 1):
        if end is not None and child.offset - end >= _MIN_WAIT:
            yield Row(
                label="wait",
                kind="wait",
                start=end,
                duration=child.offset - end,
                is_last=(*is_last, False),
                note=_wait_note(children[number - 2], child),
            )
        yield from _span_rows(child, (*is_last, number == len(children)), number)
        end = child.offset + child.duration


def _phase_rows(span: TraceSpan, is_last: tuple[bool, ...]) -> Iterator[Row]:
    found = {label: span.attributes.get(attribute) for label, attribute in _PHASES.items()}
    phases = {
        label: float(duration)
        for label, duration in found.items()
        if isinstance(duration, (int, float)) and not isinstance(duration, bool)
    }
    # They end with the attempt; the preparation of the request comes before them.
    start = span.offset + max(0.0, span.duration - sum(phases.values()))
    for label, duration in phases.items():
        yield Row(label=label, kind="phase", start=start, duration=duration, is_last=(*is_last, True))
        start += duration


def _label_and_note(span: TraceSpan, number: int) -> tuple[str, str]:
    attributes = span.attributes
    if span.name == names.RUN_SPAN:
        return span.name, str(attributes.get(names.RUN_OUTCOME, ""))
    if span.name == names.ATTEMPT_SPAN:
        status = attributes.get(names.HTTP_STATUS)
        parts = [
            "" if status is None else f"HTTP {status}",
            fault_words(str(attributes.get(names.ATTEMPT_FAULT, ""))),
            str(attributes.get(names.ATTEMPT_CONNECTION, "")) and f"{attributes[names.ATTEMPT_CONNECTION]} connection",
        ]
        return f"attempt {number}, {attributes.get(names.ATTEMPT_ROUTE, '')}", ", ".join(filter(None, parts))
    degraded = attributes.get(names.CALL_DEGRADED)
    tokens = attributes.get(names.USAGE_OUTPUT)
    parts = [
        "" if degraded is None else f"answered by {str(degraded).replace('_', '-')}",
        "" if tokens is None else f"{tokens} tokens",
    ]
    return span.name, ", ".join(filter(None, parts))


def _wait_note(before: TraceSpan, after: TraceSpan) -> str:
    route = after.attributes.get(names.ATTEMPT_ROUTE, "")
    if route != before.attributes.get(names.ATTEMPT_ROUTE, ""):
        return f"then fallback to {route}"
    return "before the retry"
