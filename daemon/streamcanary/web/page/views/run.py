"""A run as a waterfall: its attempts on one time axis, the phases of each, the waits between, the faults in words."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from streamcanary.model import names
from streamcanary.model.fault_words import FIXERS
from streamcanary.model.run_trace import RunTrace, TraceSpan
from streamcanary.web.page import text_format
from streamcanary.web.page.drawing.chart import nice_maximum

MAX_ATTEMPTS: Final = 60
MAX_CONTENT: Final = 4000  # characters of one text
_MIN_WAIT = 0.001  # seconds; less is no wait
_PHASES: Final = {
    "dns": names.PHASE_DNS,
    "connect": names.PHASE_CONNECT,
    "tls": names.PHASE_TLS,
    "headers": names.PHASE_HEADERS,
    "first-token": names.PHASE_FIRST_TOKEN,
    "streaming": names.PHASE_STREAMING,
}
PHASE_WORDS: Final = {
    "prepare": "prepare",
    "dns": "DNS",
    "connect": "connect",
    "tls": "TLS",
    "headers": "headers",
    "first-token": "first token",
    "streaming": "streaming",
    "unknown": "attempt",
}
_CONTENTS: Final = (
    ("Instructions", names.SYSTEM_INSTRUCTIONS),
    ("Input", names.INPUT_MESSAGES),
    ("Answer", names.OUTPUT_MESSAGES),
)


class _Part(Struct, frozen=True):
    content: str = ""


class _Message(Struct, frozen=True):
    role: str
    parts: list[_Part] = []


class Segment(Struct, frozen=True, kw_only=True):
    """A phase of an attempt: ``x`` and ``width`` in percent of the axis, ``seconds`` its duration.

    ``is_failed``: the attempt failed in this phase. ``fit`` says for how wide a screen its label fits: ``any``,
    ``wide`` or ``none``.
    """

    phase: str
    words: str
    x: float
    width: float
    seconds: float
    is_failed: bool = False
    fit: str = "none"


class Wait(Struct, frozen=True, kw_only=True):
    """The time between two attempts, in percent of the axis and seconds; ``words`` say what for."""

    x: float
    width: float
    seconds: float
    words: str


class AttemptView(Struct, frozen=True, kw_only=True):
    """An attempt. ``wait`` is what came before it. ``first_token`` is where on the axis it arrived, in percent."""

    number: int
    route: str
    is_fallback: bool
    start: float
    seconds: float
    segments: tuple[Segment, ...]
    wait: Wait | None = None
    first_token: float | None = None
    first_token_seconds: float | None = None
    http_status: str = ""
    connection: str = ""
    fault: str = ""
    message: str = ""
    mender: str = ""
    phase: str = ""
    request_ids: tuple[str, ...] = ()
    address: str = ""


class RunView(Struct, frozen=True, kw_only=True):
    """A run. ``ticks`` are places on the axis in percent with their time; ``events`` are what else happened."""

    trace: RunTrace
    state: str
    sentence: str
    message: str
    seconds: float
    attempts: tuple[AttemptView, ...]
    ticks: tuple[tuple[float, float], ...]
    phases: tuple[str, ...]
    trace_href: str | None
    facts: tuple[tuple[str, str], ...]
    events: tuple[tuple[float, str, str], ...]
    contents: tuple[tuple[str, str], ...]


def run_view(trace: RunTrace, trace_url: str | None = None, axis_end: float = 0.0) -> RunView:
    """Return what the page of a run shows.

    ``trace_url`` is the template of links to the tracing backend. The axis ends after the run, or at ``axis_end``
    seconds if that is later.
    """
    spans = _attempt_spans(trace)
    took = run_seconds(trace)
    end = max(took, axis_end) or 1.0
    attempts = tuple(_attempts(spans, end))
    used = {segment.phase for attempt in attempts for segment in attempt.segments}
    link = trace_url.replace("{trace_id}", trace.run.trace_id) if trace_url and _is_web(trace_url) else None
    return RunView(
        trace=trace,
        state=text_format.OUTCOME_STATES.get(trace.run.outcome, "unknown"),
        sentence=_sentence(trace, attempts),
        message=_without_kind(trace.run.message, trace.run.fault or ""),
        seconds=took,
        attempts=attempts,
        ticks=axis_ticks(end),
        phases=tuple(phase for phase in PHASE_WORDS if phase in used),
        trace_href=link,
        facts=tuple(_facts(trace)),
        events=tuple(_events(trace.root))[:20],
        contents=tuple(
            (title, message_text(str(call.attributes[attribute])))
            for call in trace.root.children
            for title, attribute in _CONTENTS
            if call.attributes.get(attribute)
        ),
    )


def run_seconds(trace: RunTrace) -> float:
    """Return the seconds until the last attempt of a run has ended."""
    ends = [span.offset + span.duration for span in _attempt_spans(trace)]
    return max((value for value in (trace.run.duration, *ends) if math.isfinite(value)), default=0.0)


def axis_ticks(end: float) -> tuple[tuple[float, float], ...]:
    """Return four to eight round times from 0 to ``end`` seconds, and their places in percent."""
    step = nice_maximum(end / 7)
    count = int(end / step * 1.0001)
    return tuple((round(100 * number * step / end, 2), number * step) for number in range(count + 1))


def _attempt_spans(trace: RunTrace) -> list[TraceSpan]:
    spans = (one for call in trace.root.children for one in call.children if one.name == names.ATTEMPT_SPAN)
    return [span for span in spans if math.isfinite(span.offset + span.duration)][:MAX_ATTEMPTS]


def _attempts(spans: Sequence[TraceSpan], end: float) -> Iterator[AttemptView]:
    primary = _text(spans[0], names.ATTEMPT_ROUTE) if spans else ""
    before: TraceSpan | None = None
    for number, span in enumerate(spans, 1):
        route = _text(span, names.ATTEMPT_ROUTE)
        failed = span.status == "error"
        first = next((event.offset for event in span.events if event.name == names.FIRST_TOKEN_EVENT), None)
        kind, blame = _text(span, names.ATTEMPT_FAULT), _text(span, names.ATTEMPT_BLAME)
        ids = span.attributes.get(names.HTTP_REQUEST_ID, [])
        yield AttemptView(
            number=number,
            route=route,
            is_fallback=route != primary,
            start=_place(span.offset, end),
            seconds=span.duration,
            segments=tuple(_segments(span, end, failed=failed)),
            wait=None if before is None else _wait(before, span, end),
            first_token=None if first is None else _place(first, end),
            first_token_seconds=None if first is None else max(0.0, first - span.offset),
            http_status=_text(span, names.HTTP_STATUS),
            connection=_text(span, names.ATTEMPT_CONNECTION),
            fault=text_format.fault_words(kind) or ("failed" if failed else ""),
            message=text_format.clean(_without_kind(span.message, kind), 500) if failed else "",
            mender=FIXERS.get(blame, blame),
            phase=_text(span, names.ATTEMPT_PHASE),
            request_ids=tuple(text_format.clean(str(one), 80) for one in (ids if isinstance(ids, list) else [ids])[:3]),
            address=_text(span, names.URL_FULL),
        )
        before = span


def _without_kind(message: str, kind: str) -> str:
    """Return ``message`` without the fault at its beginning, which the page says in words."""
    return message.removeprefix(f"{kind}: ") if kind else message


def _segments(span: TraceSpan, end: float, *, failed: bool) -> Iterator[Segment]:
    found = [(phase, span.attributes.get(attribute)) for phase, attribute in _PHASES.items()]
    phases = [
        (phase, float(value))
        for phase, value in found
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    ]
    rest = span.duration - sum(value for _, value in phases)
    if not phases:
        phases, rest = [("unknown", span.duration)], 0.0
    elif rest > 0.005 * end:
        phases = [("prepare", rest), *phases]
    start = span.offset + (max(0.0, rest) if phases[0][0] != "prepare" else 0.0)
    for index, (phase, seconds) in enumerate(phases):
        width = round(100 * seconds / end, 2)
        yield Segment(
            phase=phase,
            words=PHASE_WORDS[phase],
            x=_place(start, end),
            width=max(width, 0.15),
            seconds=seconds,
            is_failed=failed and index == len(phases) - 1,
            fit="any" if width >= 30 else "wide" if width >= 11 else "none",
        )
        start += seconds


def _wait(before: TraceSpan, after: TraceSpan, end: float) -> Wait | None:
    start = before.offset + before.duration
    seconds = after.offset - start
    if seconds < _MIN_WAIT:
        return None
    same = _text(before, names.ATTEMPT_ROUTE) == _text(after, names.ATTEMPT_ROUTE)
    words = "before the retry" if same else "before the fallback"
    return Wait(x=_place(start, end), width=round(100 * seconds / end, 2), seconds=seconds, words=words)


def _sentence(trace: RunTrace, attempts: Sequence[AttemptView]) -> str:
    run = trace.run
    took = f"in {text_format.seconds(run.duration)}"
    failed = sum(1 for attempt in attempts if attempt.fault)
    if run.outcome == "failed_over":
        answered = next((one.route for one in reversed(attempts) if not one.fault), "a fallback")
        return f"was answered by fallback {answered} after {text_format.plural(failed, 'failed attempt')}, {took}"
    if run.outcome == "failed":
        reason = f": {text_format.fault_words(run.fault)}" if run.fault else ""
        return f"failed after {text_format.plural(run.attempts, 'attempt')} {took}{reason}"
    if run.outcome in ("ok", "slow"):
        late = ", over its SLO" if run.outcome == "slow" else ""
        return f"answered at attempt {run.attempts} {took}{late}" if run.attempts > 1 else f"answered {took}{late}"
    return text_format.OUTCOME_WORDS.get(run.outcome, text_format.clean(run.outcome, 40))


def _facts(trace: RunTrace) -> Iterator[tuple[str, str]]:
    for call in trace.root.children[:1]:
        attributes = call.attributes
        if model := attributes.get(names.RESPONSE_MODEL):
            yield "answered by", text_format.clean(str(model), 100)
        if reasons := attributes.get(names.RESPONSE_FINISH_REASONS):
            yield (
                "finish reason",
                text_format.clean(", ".join(map(str, reasons)) if isinstance(reasons, list) else str(reasons), 60),
            )
        used = [
            f"{attributes[name]} {words}"
            for name, words in ((names.USAGE_INPUT, "in"), (names.USAGE_OUTPUT, "out"))
            if isinstance(attributes.get(name), int)
        ]
        if used:
            yield "tokens", ", ".join(used)
        if isinstance(gap := attributes.get(names.CALL_MAX_GAP), (int, float)):
            yield "longest gap", text_format.seconds(float(gap))


def _events(span: TraceSpan, depth: int = 0) -> Iterator[tuple[float, str, str]]:
    for event in span.events:
        if event.name not in (names.FIRST_TOKEN_EVENT, names.RETRY_SCHEDULED_EVENT):
            values = ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in event.attributes.items())
            yield (
                event.offset,
                text_format.clean(event.name.removeprefix("streamcanary."), 60),
                text_format.clean(values),
            )
    if depth < 4:
        for child in span.children[:MAX_ATTEMPTS]:
            yield from _events(child, depth + 1)


def message_text(text: str) -> str:
    """Return recorded messages (JSON of the GenAI conventions) as ``role: text`` lines, or as they are."""
    try:
        messages = msgspec.json.decode(text, type=list[_Message])
    except (msgspec.DecodeError, UnicodeError):
        return text_format.clean_lines(text, MAX_CONTENT)
    lines = (f"{one.role}: " + "".join(part.content for part in one.parts if part.content) for one in messages)
    return text_format.clean_lines("\n".join(lines), MAX_CONTENT)


def _place(offset: float, end: float) -> float:
    return round(min(max(100 * offset / end, 0.0), 100.0), 2)


def _text(span: TraceSpan, attribute: str) -> str:
    value = span.attributes.get(attribute)
    return "" if value is None else text_format.clean(str(value), 200)


def _is_web(url: str) -> bool:
    return url.startswith(("https://", "http://"))
