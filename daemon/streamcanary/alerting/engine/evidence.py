"""What a rule has seen go wrong of late, kept beside its detector, so that a page can say what it is about."""

from collections import Counter
from itertools import pairwise

import msgspec
from msgspec import Struct

from streamcanary.alerting.detectors.base import Tally
from streamcanary.alerting.engine.samples import first_fault, measured
from streamcanary.alerting.rules import Measure, Rule
from streamcanary.model.alerts.incident import Evidence
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.config_types.secret import scrub
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind

_MOST_NOTES = 50
_MOST_IDS = 5
_LONGEST_MESSAGE = 300
_LONGEST_ID = 100


class Note(Struct, frozen=True, array_like=True):
    """Something wrong in ``runs`` runs alike, the first of them ``at`` that time (seconds since the epoch).

    ``first`` tells that the first attempt failed, ``rescued`` that a fallback answered; ``kind`` may be empty.
    """

    at: float
    bad: bool
    first: bool
    kind: str
    blame: str
    rescued: bool = False
    runs: int = 1


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

        A good run leaves a note only if its first attempt failed. The ids are those of what failed: an attempt that
        made up for another is none of it, and neither is the answer of a fallback.
        """
        kept = tuple(note for note in self.notes if note.at >= since)
        last = msgspec.structs.replace(self, notes=kept) if kept else Trail()
        before_retries = first_fault(outcome)
        if not bad:
            retried = before_retries is not None
            notes = _bounded((*kept, Note(at, bad=False, first=True, kind="", blame=""))) if retried else kept
            return msgspec.structs.replace(last, notes=notes)
        fault = before_retries if rule.measure is Measure.FIRST_ATTEMPTS else outcome.fault
        note = Note(
            at,
            bad=True,
            first=before_retries is not None,
            kind=fault.kind.value if fault else "",
            blame=fault.blame.value if fault else "",
            rescued=outcome.kind is OutcomeKind.FAILED_OVER,
        )
        return Trail(
            notes=_bounded((*kept, note)),
            message=_tidy(fault.message if fault else _said(rule, outcome), _LONGEST_MESSAGE),
            request_ids=_newest(last.request_ids, *(attempt.request_id for attempt in _guilty(rule, outcome))),
            trace_ids=_newest(last.trace_ids, outcome.trace_id),
        )

    def evidence(self, tally: Tally, diagnosis: str = "") -> Evidence:
        """Return what a page says of it, for what the detector has counted."""
        notes = [note for note in self.notes if note.at >= tally.since]
        faults, blames = Counter[str](), Counter[str]()
        for note in notes:
            faults[note.kind] += note.runs if note.kind else 0
            blames[note.blame] += note.runs if note.blame else 0
        return Evidence(
            bad=tally.bad,
            total=tally.total,
            first_attempts=sum(note.runs for note in notes if note.first),
            rescued=sum(note.runs for note in notes if note.rescued),
            since=next((note.at for note in notes if note.bad), None),
            faults=dict(+faults),
            blames=dict(+blames),
            message=self.message,
            request_ids=self.request_ids,
            trace_ids=self.trace_ids,
            diagnosis=diagnosis,
        )


def _bounded(notes: tuple[Note, ...]) -> tuple[Note, ...]:
    """Return ``notes``; if they are too many, with two that are alike and follow each other as one, the oldest first.

    So that an outage keeps its beginning, and its counts, however long it lasts. The newest stays as it is.
    """
    if len(notes) <= _MOST_NOTES:
        return notes
    for place, (one, other) in enumerate(pairwise(notes[:-1])):
        if msgspec.structs.replace(other, at=one.at, runs=one.runs) == one:
            return (*notes[:place], msgspec.structs.replace(one, runs=one.runs + other.runs), *notes[place + 2 :])
    return notes[1:]  # no two are alike


def _guilty(rule: Rule, outcome: Outcome) -> list[Attempt]:
    """Return the attempts that a bad run is about: those that failed, and an answer only if it is what was bad."""
    saved = rule.measure is Measure.FIRST_ATTEMPTS or outcome.kind is OutcomeKind.FAILED_OVER
    failed = [attempt for attempt in outcome.attempts if attempt.fault is not None]
    return failed if saved and failed else list(outcome.attempts)


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
