"""Span trees as text that stays the same from run to run: without times, ids, addresses and messages."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan

_PHASE: Final = ("streamcanary.phase.", ".duration")
_SHOWN: Final = {
    "streamcanary.outcome": "outcome",
    "streamcanary.attempts": "attempts",
    "streamcanary.degraded": "degraded",
    "streamcanary.route": "route",
    "http.request.resend_count": "resend",
    "http.response.status_code": "http",
    "error.type": "error",
    "streamcanary.fault": "fault",
    "streamcanary.phase": "phase",
    "streamcanary.blame": "blame",
    "gen_ai.response.model": "model",
    "gen_ai.response.finish_reasons": "finish",
}
"""The attributes that a tree has, with their names there."""


def format_trees(spans: Iterable[ReadableSpan]) -> str:
    """Return the trees of ``spans``, one line for each span: name, status, attributes, measured phases and events."""
    all_spans = sorted(spans, key=lambda span: (span.start_time or 0, span.end_time or 0))
    ids = {span.context.span_id for span in all_spans}
    children: dict[int, list[ReadableSpan]] = {}
    for span in all_spans:
        if span.parent is not None and span.parent.span_id in ids:
            children.setdefault(span.parent.span_id, []).append(span)
    roots = [span for span in all_spans if span.parent is None or span.parent.span_id not in ids]
    return "\n".join(line for root in roots for line in _lines(root, children, 0))


def read_trees(text: str) -> dict[str, str]:
    """Return the trees in a file by their headings."""
    trees: dict[str, str] = {}
    for section in text.split("\n\n"):
        heading, _, tree = section.strip().partition("\n")
        trees[heading.removeprefix("# ")] = tree
    return trees


def write_trees(trees: Mapping[str, str]) -> str:
    """Return the content of a file with ``trees``."""
    return "\n\n".join(f"# {name}\n{trees[name]}" for name in sorted(trees)) + "\n"


def _lines(span: ReadableSpan, children: Mapping[int, list[ReadableSpan]], depth: int) -> Iterator[str]:
    attributes: Mapping[str, Any] = span.attributes or {}
    parts = [f"{'  ' * depth}{span.name}", span.status.status_code.name]
    for name, label in _SHOWN.items():
        if name in attributes:
            value = attributes[name]
            parts.append(f"{label}={','.join(value) if isinstance(value, tuple) else value}")
    start, end = _PHASE
    if phases := [name.removeprefix(start).removesuffix(end) for name in attributes if name.startswith(start)]:
        parts.append(f"phases={','.join(phases)}")
    if span.events:
        parts.append(f"events={','.join(event.name.removeprefix('streamcanary.') for event in span.events)}")
    yield " ".join(parts)
    for child in children.get(span.context.span_id, ()):
        yield from _lines(child, children, depth + 1)
