"""A finished run as a tree of spans, for people who have no tracing backend at hand."""

from datetime import datetime

from msgspec import Struct

SpanAttribute = str | bool | int | float | list[str | bool | int | float]
"""The value of an attribute, in a form that JSON has."""


class TraceEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event of a span. ``offset``: seconds from the start of the run."""

    name: str
    offset: float
    attributes: dict[str, SpanAttribute] = {}


class TraceSpan(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A finished span with its children, in the order of their start.

    ``offset``: seconds from the start of the run. ``duration``: seconds. ``status``: ``unset``, ``ok`` or ``error``;
    ``message`` is the description of an error.
    """

    name: str
    span_id: str
    offset: float
    duration: float
    status: str = "unset"
    message: str = ""
    attributes: dict[str, SpanAttribute] = {}
    events: list[TraceEvent] = []
    children: list["TraceSpan"] = []


class RunSummary(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A finished run without its spans.

    ``outcome`` is a value of :class:`~streamcanary.model.outcome.OutcomeKind`, ``fault`` the kind of the primary's
    fault. ``message`` says what is wrong with the run, empty if it is ``ok``. ``duration``: seconds.
    """

    run_id: str
    trace_id: str
    canary: str
    target: str
    outcome: str
    started: datetime
    duration: float
    attempts: int = 0
    fault: str | None = None
    message: str = ""


class RunTrace(Struct, frozen=True, kw_only=True):
    """A finished run and its spans; ``omitted_spans`` were over the limit of spans that are kept."""

    run: RunSummary
    root: TraceSpan
    omitted_spans: int = 0


class RunPage(Struct, frozen=True, kw_only=True):
    """One page of runs, the latest first; ``next`` is the cursor of the next page, ``None`` on the last one.

    ``kept_by`` is the other replica that runs the one canary that was asked for, and so keeps its latest runs: its name
    and address. Empty if there is none.
    """

    runs: list[RunSummary]
    next: int | None = None
    kept_by: str = ""
