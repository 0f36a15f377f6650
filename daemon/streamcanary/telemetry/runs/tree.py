"""Builds the tree of a finished run from its spans."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from streamcanary.model import names
from streamcanary.model.run_trace import RunSummary, RunTrace, SpanAttribute, TraceEvent, TraceSpan

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_NANOSECONDS = 1e9
_DIGITS = 6  # of offsets and durations in seconds: microseconds


def build_trace(
    root: "ReadableSpan", descendants: Sequence["ReadableSpan"], summary: RunSummary, *, omitted: int = 0
) -> RunTrace:
    """Return the trace of the run ``root`` with its ``descendants``, which may be in any order, and its ``summary``.

    A span whose parent is not among them is left out. ``omitted``: spans that were not kept.
    """
    children: dict[int, list[ReadableSpan]] = {}
    for span in descendants:
        if span.parent is not None:
            children.setdefault(span.parent.span_id, []).append(span)
    tree = _build_span(root, children, root.start_time or 0)
    return RunTrace(run=summary, root=tree, omitted_spans=omitted)


def _build_span(span: "ReadableSpan", children: Mapping[int, list["ReadableSpan"]], origin: int) -> TraceSpan:
    span_id = span.context.span_id
    start, end = span.start_time or origin, span.end_time or origin
    return TraceSpan(
        name=span.name,
        span_id=f"{span_id:016x}",
        offset=_seconds(start - origin),
        duration=_seconds(end - start),
        status=span.status.status_code.name.lower(),
        message=span.status.description or "",
        attributes=_plain(span.attributes),
        events=[
            TraceEvent(name=event.name, offset=_seconds(event.timestamp - origin), attributes=_plain(event.attributes))
            for event in span.events
        ],
        children=[
            _build_span(child, children, origin)
            for child in sorted(children.get(span_id, ()), key=lambda child: child.start_time or 0)
        ],
    )


def summarize(root: "ReadableSpan", descendants: Sequence["ReadableSpan"]) -> RunSummary:
    """Return the summary of the run ``root``; ``descendants`` as for :func:`build_trace`."""
    attributes = _plain(root.attributes)
    start, end = root.start_time or 0, root.end_time or root.start_time or 0
    attempts = 0
    for span in descendants:
        is_call = span.parent is not None and span.parent.span_id == root.context.span_id
        if is_call and isinstance(number := (span.attributes or {}).get(names.CALL_ATTEMPTS), int):
            attempts += number
    return RunSummary(
        run_id=str(attributes.get(names.RUN_ID, "")),
        trace_id=f"{root.context.trace_id:032x}",
        canary=str(attributes.get(names.RUN_CANARY, "")),
        target=str(attributes.get(names.RUN_TARGET, "")),
        outcome=str(attributes.get(names.RUN_OUTCOME, "")),
        started=datetime.fromtimestamp(start / _NANOSECONDS, UTC),
        duration=_seconds(end - start),
        attempts=attempts,
        fault=str(fault) if (fault := attributes.get(names.ERROR_TYPE)) is not None else None,
        message=root.status.description or str(attributes.get(names.RUN_REASON, "")),
    )


def _seconds(nanoseconds: int) -> float:
    return round(nanoseconds / _NANOSECONDS, _DIGITS)


def _plain(attributes: Mapping[str, Any] | None) -> dict[str, SpanAttribute]:
    """Return a copy; tuples in it become lists when the trace is encoded."""
    if attributes is None:
        return {}
    copy = getattr(attributes, "copy", None)  # the SDK's mapping takes a lock for each item, and once for a copy
    return dict(attributes) if copy is None else copy()
