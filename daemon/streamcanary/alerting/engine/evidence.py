"""What a rule has seen go wrong of late, kept beside its detector, so that a page can say what it is about."""

from collections import Counter
from itertools import pairwise

import msgspec
from msgspec import Struct

from streamcanary.alerting.detectors.base import FailureCounts
from streamcanary.alerting.engine.samples import first_attempt_fault, measured_seconds
from streamcanary.alerting.rules import Measure, Rule
from streamcanary.model.alerts.incident import Evidence
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.config_types.secret import scrub
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind

_MAX_ENTRIES = 50
_MAX_IDS = 5
_MAX_MESSAGE_LENGTH = 300
_MAX_ID_LENGTH = 100


class EvidenceEntry(Struct, frozen=True, array_like=True):
    """Something wrong in ``runs`` runs alike, the first of them ``at`` that time (seconds since the epoch).

    ``first`` tells that the first attempt failed, ``rescued`` that a fallback answered; ``kind`` may be empty.
    """

    at: float
    bad: bool
    first_attempt_failed: bool
    fault_kind: str
    blame: str
    served_by_fallback: bool = False
    run_count: int = 1


class EvidenceLog(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last runs with something wrong in them, the last message, and a few ids; the newest come last."""

    entries: tuple[EvidenceEntry, ...] = ()
    message: str = ""
    request_ids: tuple[str, ...] = ()
    trace_ids: tuple[str, ...] = ()

    @property
    def last_bad_at(self) -> float:
        """When the last bad sample was seen, in seconds since the epoch; 0 if there is none."""
        return next((entry.at for entry in reversed(self.entries) if entry.bad), 0.0)

    def record(self, rule: Rule, outcome: Outcome, *, bad: bool, at: float, since: float) -> "EvidenceLog":
        """Return the trail after ``outcome``, seen ``at``; what is older than ``since`` is forgotten (epoch seconds).

        A good run leaves a note only if its first attempt failed. The ids are those of what failed: an attempt that
        made up for another is none of it, and neither is the answer of a fallback.
        """
        kept = tuple(note for note in self.entries if note.at >= since)
        last = msgspec.structs.replace(self, entries=kept) if kept else EvidenceLog()
        before_retries = first_attempt_fault(outcome)
        if not bad:
            retried = before_retries is not None
            entries = (
                _compact((*kept, EvidenceEntry(at, bad=False, first_attempt_failed=True, fault_kind="", blame="")))
                if retried
                else kept
            )
            return msgspec.structs.replace(last, entries=entries)
        fault = before_retries if rule.measure is Measure.FIRST_ATTEMPTS else outcome.fault
        entry = EvidenceEntry(
            at,
            bad=True,
            first_attempt_failed=before_retries is not None,
            fault_kind=fault.kind.value if fault else "",
            blame=fault.blame.value if fault else "",
            served_by_fallback=outcome.kind is OutcomeKind.FAILED_OVER,
        )
        return EvidenceLog(
            entries=_compact((*kept, entry)),
            message=_scrub_text(fault.message if fault else _describe_bad_sample(rule, outcome), _MAX_MESSAGE_LENGTH),
            request_ids=_append_ids(
                last.request_ids, *(attempt.request_id for attempt in _attempts_at_fault(rule, outcome))
            ),
            trace_ids=_append_ids(last.trace_ids, outcome.trace_id),
        )

    def evidence(self, counts: FailureCounts, diagnosis: str = "") -> Evidence:
        """Return what a page says of it, for what the detector has counted."""
        entries = [note for note in self.entries if note.at >= counts.since]
        faults, blames = Counter[str](), Counter[str]()
        for entry in entries:
            faults[entry.fault_kind] += entry.run_count if entry.fault_kind else 0
            blames[entry.blame] += entry.run_count if entry.blame else 0
        return Evidence(
            bad=counts.bad,
            total=counts.total,
            first_attempts=sum(note.run_count for note in entries if note.first_attempt_failed),
            rescued=sum(note.run_count for note in entries if note.served_by_fallback),
            since=next((note.at for note in entries if note.bad), None),
            faults=dict(+faults),
            blames=dict(+blames),
            message=self.message,
            request_ids=self.request_ids,
            trace_ids=self.trace_ids,
            diagnosis=diagnosis,
        )


def _compact(entries: tuple[EvidenceEntry, ...]) -> tuple[EvidenceEntry, ...]:
    """Return ``notes``; if they are too many, with two that are alike and follow each other as one, the oldest first.

    So that an outage keeps its beginning, and its counts, however long it lasts. The newest stays as it is.
    """
    if len(entries) <= _MAX_ENTRIES:
        return entries
    for place, (one, other) in enumerate(pairwise(entries[:-1])):
        if msgspec.structs.replace(other, at=one.at, run_count=one.run_count) == one:
            return (
                *entries[:place],
                msgspec.structs.replace(one, run_count=one.run_count + other.run_count),
                *entries[place + 2 :],
            )
    return entries[1:]  # no two are alike


def _attempts_at_fault(rule: Rule, outcome: Outcome) -> list[Attempt]:
    """Return the attempts that a bad run is about: those that failed, and an answer only if it is what was bad."""
    has_good_answer = rule.measure is Measure.FIRST_ATTEMPTS or outcome.kind is OutcomeKind.FAILED_OVER
    failed = [attempt for attempt in outcome.attempts if attempt.fault is not None]
    return failed if has_good_answer and failed else list(outcome.attempts)


def _describe_bad_sample(rule: Rule, outcome: Outcome) -> str:
    """Return in words why a run without a fault is a bad sample."""
    seconds = measured_seconds(rule.measure, outcome)
    if seconds is not None and rule.limit is not None:
        return f"{rule.measure} {format_duration(seconds)}, limit {format_duration(rule.limit)}"
    times = {"first token": outcome.time_to_first_token, "longest gap": outcome.max_gap, "whole run": outcome.duration}
    said = (f"{name} {format_duration(time)}" for name, time in times.items() if time is not None)
    return f"{outcome.kind}: {', '.join(said)}"


def _append_ids(ids: tuple[str, ...], *more: str | None) -> tuple[str, ...]:
    return (*ids, *(_scrub_text(one, _MAX_ID_LENGTH) for one in more if one))[-_MAX_IDS:]


def _scrub_text(text: str, limit: int) -> str:
    """Return foreign text scrubbed, and as UTF-8 can hold it: half a surrogate pair would cost the whole row."""
    return scrub(text.encode("utf-8", "replace").decode(), limit=limit)
