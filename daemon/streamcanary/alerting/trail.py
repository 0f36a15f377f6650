"""What a rule has seen go wrong of late, kept beside its detector, so that a page can say what it is about."""

from collections import Counter

import msgspec
from msgspec import Struct

from streamcanary.alerting.detectors.verdict import Tally
from streamcanary.alerting.rules import Measure, Rule
from streamcanary.alerting.sample import first_fault, measured
from streamcanary.model.duration import format_duration
from streamcanary.model.incident import Evidence
from streamcanary.model.outcome import Outcome
from streamcanary.model.secret import scrub

_MOST_NOTES = 50
_MOST_IDS = 5
_LONGEST_MESSAGE = 300
_LONGEST_ID = 100


class Note(Struct, frozen=True, array_like=True):
    """One run with something wrong in it. ``first`` tells that its first attempt failed; ``kind`` may be empty."""

    at: float
    bad: bool
    first: bool
    kind: str
    blame: str


class Trail(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last runs with something wrong in them, the last message, and a few ids; the newest come last."""

    notes: tuple[Note, ...] = ()
    message: str = ""
    request_ids: tuple[str, ...] = ()
    trace_ids: tuple[str, ...] = ()

    @property
    def last_bad(self) -> float:
        """When the last bad sample was seen, in seconds since the epoch; 0 if there is none."""
        return next((note.at for note in reversed(self.notes) if note.bad), 0.0)

    def follow(self, rule: Rule, outcome: Outcome, *, bad: bool, at: float, since: float) -> "Trail":
        """Return the trail after ``outcome``, seen ``at``; what is older than ``since`` is forgotten (epoch seconds).

        A good run leaves a note only if its first attempt failed.
        """
        kept = tuple(note for note in self.notes if note.at >= since)
        last = msgspec.structs.replace(self, notes=kept) if kept else Trail()
        before_retries = first_fault(outcome)
        if not bad:
            rescued = before_retries is not None
            notes = (*kept, Note(at, bad=False, first=True, kind="", blame=""))[-_MOST_NOTES:] if rescued else kept
            return msgspec.structs.replace(last, notes=notes)
        fault = before_retries if rule.measure is Measure.FIRST_ATTEMPTS else outcome.fault
        note = Note(
            at,
            bad=True,
            first=before_retries is not None,
            kind=fault.kind.value if fault else "",
            blame=fault.blame.value if fault else "",
        )
        return Trail(
            notes=(*kept, note)[-_MOST_NOTES:],
            message=_tidy(fault.message if fault else _said(rule, outcome), _LONGEST_MESSAGE),
            request_ids=_newest(last.request_ids, *(attempt.request_id for attempt in outcome.attempts)),
            trace_ids=_newest(last.trace_ids, outcome.trace_id),
        )

    def evidence(self, tally: Tally, diagnosis: str = "") -> Evidence:
        """Return what a page says of it, for what the detector has counted."""
        notes = [note for note in self.notes if note.at >= tally.since]
        return Evidence(
            bad=tally.bad,
            total=tally.total,
            first_attempts=sum(note.first for note in notes),
            since=next((note.at for note in notes if note.bad), None),
            faults=dict(Counter(note.kind for note in notes if note.kind)),
            blames=dict(Counter(note.blame for note in notes if note.blame)),
            message=self.message,
            request_ids=self.request_ids,
            trace_ids=self.trace_ids,
            diagnosis=diagnosis,
        )


def _said(rule: Rule, outcome: Outcome) -> str:
    """Return in words why a run without a fault is a bad sample."""
    seconds = measured(rule.measure, outcome)
    if seconds is not None and rule.limit is not None:
        return f"{rule.measure} {format_duration(seconds)}, limit {format_duration(rule.limit)}"
    times = {"first token": outcome.time_to_first_token, "longest gap": outcome.max_gap, "whole run": outcome.duration}
    said = (f"{name} {format_duration(time)}" for name, time in times.items() if time is not None)
    return f"{outcome.kind}: {', '.join(said)}"


def _newest(ids: tuple[str, ...], *more: str | None) -> tuple[str, ...]:
    return (*ids, *(_tidy(one, _LONGEST_ID) for one in more if one))[-_MOST_IDS:]


def _tidy(text: str, limit: int) -> str:
    """Return foreign text scrubbed, and as UTF-8 can hold it: half a surrogate pair would cost the whole row."""
    return scrub(text.encode("utf-8", "replace").decode(), limit=limit)
