"""The evidence log of a binding: recent faults, ids and messages, for the text of notifications."""

from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

import msgspec
from msgspec import Struct

from streamcanary.alerting.detectors.base import FailureCounts
from streamcanary.alerting.engine.evaluation.samples import first_attempt_fault, measured_value
from streamcanary.alerting.measures import Measure
from streamcanary.alerting.rules import Rule
from streamcanary.model.alerts.incident import MAX_REPLICAS, Evidence
from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind
from streamcanary.model.redaction.redactor import scrub

_MAX_ENTRIES = 50
_MAX_IDS = 5
_MAX_FALLBACKS = 10
_MAX_MESSAGE_LENGTH = 300
_MAX_ID_LENGTH = 100
_DAY = 86400.0
_EVIDENCE_BY_ITSELF = (Measure.CERTIFICATE_EXPIRY, Measure.RATELIMIT_HEADROOM, Measure.MODEL_CHANGES)


class EvidenceEntry(Struct, frozen=True, array_like=True, gc=False):
    """``run_count`` runs with the same problem, the first of them at ``at`` (seconds since the epoch).

    ``first_attempt_failed`` is whether the first attempt failed, ``served_by_fallback`` whether a fallback answered.
    ``fault_kind`` and ``blame`` are empty for a run without a fault.
    """

    at: float
    bad: bool
    first_attempt_failed: bool
    fault_kind: str
    blame: str
    served_by_fallback: bool = False
    run_count: int = 1


class EvidenceLog(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The last runs with a problem, the last message, and the last ids; the newest come last.

    ``attempts`` and ``fallbacks`` are what the last bad run tried: attempts of its primary, and the further routes.
    ``replicas`` are those that made the bad runs.
    """

    entries: tuple[EvidenceEntry, ...] = ()
    message: str = ""
    request_ids: tuple[str, ...] = ()
    trace_ids: tuple[str, ...] = ()
    attempts: int = 0
    fallbacks: tuple[str, ...] = ()
    replicas: tuple[str, ...] = ()

    @property
    def last_bad_at(self) -> float:
        """The time of the last bad sample, in seconds since the epoch; 0 if there is none."""
        return next((entry.at for entry in reversed(self.entries) if entry.bad), 0.0)

    def record(
        self, rule: Rule, outcome: Outcome, *, bad: bool, at: float, since: float, limit: float | None = None
    ) -> "EvidenceLog":
        """Return the log with ``outcome``, which ended at ``at``, and without entries before ``since``.

        Both times are in seconds since the epoch. ``limit`` is the learned one of a ``shift`` detector. A good run gets
        an entry only if its first attempt failed. The ids are those of failed attempts: a successful retry and the
        answer of a fallback are left out.
        """
        kept = tuple(entry for entry in self.entries if entry.at >= since)
        last = msgspec.structs.replace(self, entries=kept) if kept else _EMPTY
        first_fault = first_attempt_fault(outcome)
        if not bad:
            if first_fault is None:
                return last
            entry = EvidenceEntry(at, bad=False, first_attempt_failed=True, fault_kind="", blame="")
            return msgspec.structs.replace(last, entries=_compact((*kept, entry)))
        fault = first_fault if rule.measure is Measure.FIRST_ATTEMPTS else outcome.fault
        if rule.measure in _EVIDENCE_BY_ITSELF:
            fault = None  # a fault of the same run is about something else
        entry = EvidenceEntry(
            at,
            bad=True,
            first_attempt_failed=first_fault is not None,
            fault_kind=fault.kind.value if fault else "",
            blame=fault.blame.value if fault else "",
            served_by_fallback=outcome.kind is OutcomeKind.FAILED_OVER,
        )
        message = fault.message if fault else _describe_bad_sample(rule, outcome, limit)
        return EvidenceLog(
            entries=_compact((*kept, entry)),
            message=_scrub_text(message, _MAX_MESSAGE_LENGTH),
            request_ids=_append_ids(
                last.request_ids, *(attempt.request_id for attempt in _attempts_at_fault(rule, outcome))
            ),
            trace_ids=_append_ids(last.trace_ids, outcome.trace_id),
            attempts=sum(attempt.route == outcome.attempts[0].route for attempt in outcome.attempts),
            fallbacks=_fallbacks(outcome),
            replicas=_append_replica(last.replicas, outcome.replica),
        )

    def evidence(self, counts: FailureCounts, diagnosis: str = "") -> Evidence:
        """Return the evidence of an incident: the failure counts of its detector, with faults and ids from this log."""
        entries = [entry for entry in self.entries if entry.at >= counts.since]
        faults, blames = Counter[str](), Counter[str]()
        for entry in entries:
            faults[entry.fault_kind] += entry.run_count if entry.fault_kind else 0
            blames[entry.blame] += entry.run_count if entry.blame else 0
        return Evidence(
            bad=counts.bad,
            total=counts.total,
            first_attempts=sum(entry.run_count for entry in entries if entry.first_attempt_failed),
            rescued=sum(entry.run_count for entry in entries if entry.served_by_fallback),
            since=next((entry.at for entry in entries if entry.bad), None),
            faults=dict(+faults),
            blames=dict(+blames),
            message=self.message,
            request_ids=self.request_ids,
            trace_ids=self.trace_ids,
            diagnosis=diagnosis,
            attempts=self.attempts,
            fallbacks=self.fallbacks,
            replicas=self.replicas,
        )


_EMPTY: Final = EvidenceLog()  # of most bindings: thousands of canaries share it


def _compact(entries: tuple[EvidenceEntry, ...]) -> tuple[EvidenceEntry, ...]:
    """Return ``entries``; if there are too many, merge the oldest two equal neighbours into one.

    A long outage thus keeps its first entry and its counts. The newest entry is never merged. If no neighbours are
    equal, the oldest entry is dropped.
    """
    if len(entries) <= _MAX_ENTRIES:
        return entries
    for index, (entry, following) in enumerate(pairwise(entries[:-1])):
        if msgspec.structs.replace(following, at=entry.at, run_count=entry.run_count) == entry:
            return (
                *entries[:index],
                msgspec.structs.replace(entry, run_count=entry.run_count + following.run_count),
                *entries[index + 2 :],
            )
    return entries[1:]


def _fallbacks(outcome: Outcome) -> tuple[str, ...]:
    """Return the names of the routes that a run tried after its primary, each once."""
    routes = dict.fromkeys(attempt.route for attempt in outcome.attempts)
    return tuple(_scrub_text(route, _MAX_ID_LENGTH) for route in list(routes)[1 : _MAX_FALLBACKS + 1])


def _attempts_at_fault(rule: Rule, outcome: Outcome) -> list[Attempt]:
    """Return the failed attempts of a bad run; if its answer was bad, all attempts."""
    has_good_answer = rule.measure is Measure.FIRST_ATTEMPTS or outcome.kind is OutcomeKind.FAILED_OVER
    failed = [attempt for attempt in outcome.attempts if attempt.fault is not None]
    return failed if has_good_answer and failed else list(outcome.attempts)


def _describe_bad_sample(rule: Rule, outcome: Outcome, learned: float | None = None) -> str:
    """Return a text that says why a run is a bad sample for a reason other than its fault.

    ``learned`` is the limit of a ``shift`` detector, such that higher is worse.
    """
    if outcome.certificate_expiry is not None and rule.measure is Measure.CERTIFICATE_EXPIRY:
        return describe_certificate_expiry(outcome.certificate_expiry, outcome.started + outcome.duration)
    if rule.measure is Measure.MODEL_CHANGES:
        return f"{outcome.model} answers, and {outcome.previous_model} answered the run before"
    value, limit_type = measured_value(rule.measure, outcome), rule.measure.limit_type
    if learned is not None and value is not None and limit_type is not None:
        measured = f"{rule.measure} {limit_type.format(value)}{_measurement_details(rule.measure, outcome)}"
        usual, than = (learned, "less") if rule.measure.is_timed else (1 / learned if learned else 0.0, "more")
        return f"{measured}, usually {limit_type.format(usual)} or {than}"
    if value is not None and rule.limit is not None and limit_type is not None:
        measured = f"{rule.measure} {limit_type.format(value)}{_measurement_details(rule.measure, outcome)}"
        return f"{measured}, limit {limit_type.format(rule.limit)}"
    times = {
        "first token": outcome.time_to_first_token,
        "longest gap": outcome.max_gap,
        "whole run": outcome.answer_duration,
    }
    parts = (f"{name} {format_duration(time)}" for name, time in times.items() if time is not None)
    return f"{outcome.kind}: {', '.join(parts)}"


def describe_certificate_expiry(expiry: float, now: float) -> str:
    """Return when a certificate expires, such as ``expires on 2026-12-11, in 12 days``; times are epoch seconds."""
    day = datetime.fromtimestamp(expiry, UTC).strftime("%Y-%m-%d")
    if expiry <= now:
        return f"expired on {day}"
    remaining = expiry - now
    shown = f"{remaining / _DAY:.0f} days" if remaining >= 2 * _DAY else f"{remaining / 3600:.0f} hours"
    return f"expires on {day}, in {shown}"


def _measurement_details(measure: Measure, outcome: Outcome) -> str:
    """Return how the value of a measure came about, in parentheses; nothing for a time."""
    if measure is Measure.TOKENS_PER_SECOND and outcome.output_speed is not None:
        return " (tokens estimated)" if outcome.output_speed.is_estimated else ""
    lowest = outcome.rate_limits.lowest if outcome.rate_limits is not None else None
    if measure is not Measure.RATELIMIT_HEADROOM or lowest is None:
        return ""
    kind, quota, _ = lowest
    total = f" of {quota.limit}" if quota.limit is not None else ""
    reset = f", reset in {format_duration(quota.reset_after)}" if quota.reset_after is not None else ""
    return f" ({quota.remaining}{total} {kind} left{reset})"


def _append_ids(ids: tuple[str, ...], *new: str | None) -> tuple[str, ...]:
    return (*ids, *(_scrub_text(new_id, _MAX_ID_LENGTH) for new_id in new if new_id))[-_MAX_IDS:]


def _append_replica(replicas: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Return ``replicas`` with ``name`` as the last one."""
    if not name or replicas[-1:] == (name,):
        return replicas
    return (*(other for other in replicas if other != name), name)[-MAX_REPLICAS:]


def _scrub_text(text: str, limit: int) -> str:
    """Return external text scrubbed and encodable as UTF-8: a lone surrogate would make the whole row unwritable."""
    return scrub(text.encode("utf-8", "replace").decode(), limit=limit)
