"""Says in one sentence what is broken, for whom, since when."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from streamcanary.model import names
from streamcanary.model.alerts.status_snapshot import OpenIncident, StatusSnapshot
from streamcanary.model.fault_words import fault_words
from streamcanary.model.redaction.redactor import scrub
from streamcanary.model.status.canary_status import CanaryState, CanaryStatus
from streamcanary.model.status.summary import OverallState, StatusSummary

_WORST_FIRST: Final = (CanaryState.FAILING, CanaryState.DEGRADED, CanaryState.SLOW)
_ONE: Final = {
    CanaryState.FAILING: "fails",
    CanaryState.DEGRADED: "is answered by a fallback",
    CanaryState.SLOW: "is slow",
}
_MANY: Final = {
    CanaryState.FAILING: "fail",
    CanaryState.DEGRADED: "are answered by a fallback",
    CanaryState.SLOW: "are slow",
}
_DOMINANT_RULES = frozenset({"CanaryEgressDown"})  # explain why everything else fails
_PAGING_SEVERITIES = frozenset({"page", "critical", ""})  # without the label, receivers decide, and most of them page
_MAX_FAULTS = 2  # of a target
_MAX_NAMED = 3  # targets, or alerts
_MAX_TEXT = 200  # characters of an annotation, or a message of a provider


class _AffectedTarget(Struct, frozen=True):
    """The canaries of a target that are in the worst state, of ``total``."""

    target: str
    canaries: tuple[CanaryStatus, ...]
    total: int

    @property
    def fault(self) -> str:
        """The faults in words, the most frequent first, in parentheses; empty if none is known."""
        faults = Counter(each.fault for each in self.canaries if each.fault)
        named = ", ".join(fault_words(fault) for fault, _ in faults.most_common(_MAX_FAULTS))
        rest = f" and {len(faults) - _MAX_FAULTS} more" if len(faults) > _MAX_FAULTS else ""
        return f" ({named}{rest})" if named else ""


def summarize(
    statuses: Sequence[CanaryStatus],
    snapshot: StatusSnapshot,
    *,
    instance: str,
    version: str,
    started: float,
    now: float,
) -> StatusSummary:
    """Return the summary of ``statuses`` and of what alerting reports; it has no full stop at the end."""
    counts = Counter(status.state for status in statuses)
    worst = next((state for state in _WORST_FIRST if counts[state]), None)
    affected = [] if worst is None else _affected_targets(statuses, worst)
    muted = [shown for shown in snapshot.incidents if _is_muted(shown)]
    firing = [shown for shown in snapshot.incidents if not _is_muted(shown)]
    about_daemon = [shown for shown in firing if shown.incident.canary is None and not shown.incident.scope]
    dominant = [shown for shown in about_daemon if shown.incident.rule in _DOMINANT_RULES]
    details = []
    if dominant:
        sentence = _text_of(dominant[0])
        if worst is not None:
            details.append(_affected_sentence(affected, worst, counts[worst], len(statuses)))
    elif worst is not None:
        sentence = _affected_sentence(affected, worst, counts[worst], len(statuses))
    else:
        sentence = _well_sentence(statuses, counts)
        if about_daemon:
            sentence = f"{sentence}, but: {_text_of(about_daemon[0])}"
        elif firing:
            sentence = f"{sentence}; {_still_firing(firing)}"
    details += _details(affected, worst, counts)
    spoken = dominant or ([] if worst is not None else about_daemon[:1])
    details += [_text_of(shown) for shown in about_daemon if shown not in spoken][:_MAX_NAMED]
    notified = tuple(dict.fromkeys(name for shown in snapshot.incidents for name in shown.notified))
    details += _notified(notified, has_firing=bool(firing), is_broken=worst is not None)
    details += _alert_counts(len(muted), snapshot.undelivered_count)
    return StatusSummary(
        state=_overall_state(counts, len(statuses), snapshot, firing),
        sentence=sentence,
        detail="; ".join(details),
        since=_since(affected, dominant or (firing if worst is None else [])),
        counts={state.value: counts[state] for state in CanaryState},
        firing=snapshot.firing_count,
        silenced=len(muted),
        undelivered=snapshot.undelivered_count,
        notified=notified,
        instance=instance,
        version=version,
        started=started,
        time=now,
    )


def _affected_targets(statuses: Iterable[CanaryStatus], state: CanaryState) -> list[_AffectedTarget]:
    """Return the targets with canaries in ``state``, those with most of them first."""
    totals: Counter[str] = Counter()
    canaries: dict[str, list[CanaryStatus]] = {}
    for status in statuses:
        totals[status.target] += 1
        if status.state is state:
            canaries.setdefault(status.target, []).append(status)
    affected = [_AffectedTarget(target, tuple(some), totals[target]) for target, some in canaries.items()]
    return sorted(affected, key=lambda each: (-len(each.canaries), each.target))


def _affected_sentence(affected: Sequence[_AffectedTarget], state: CanaryState, count: int, total: int) -> str:
    if len(affected) <= 2:
        return "; ".join(_target_sentence(each, state) for each in affected)
    named = [f"{each.target} ({len(each.canaries)} of {each.total})" for each in affected[:_MAX_NAMED]]
    rest = f" and {len(affected) - _MAX_NAMED} more" if len(affected) > _MAX_NAMED else ""
    return f"{count} of {total} canaries {_MANY[state]}, at {len(affected)} targets: {', '.join(named)}{rest}"


def _target_sentence(affected: _AffectedTarget, state: CanaryState) -> str:
    if len(affected.canaries) == 1:
        return f"{affected.target}: {affected.canaries[0].name} {_ONE[state]}{affected.fault}"
    count, total = len(affected.canaries), affected.total
    how_many = f"{count} of {total}" if count < total else "both" if total == 2 else f"all {total}"
    return f"{affected.target}: {how_many} canaries {_MANY[state]}{affected.fault}"


def _well_sentence(statuses: Sequence[CanaryStatus], counts: Counter[CanaryState]) -> str:
    total, ok = len(statuses), counts[CanaryState.OK]
    if total == 0:
        return "No canary is configured"
    if ok == 0:
        has_run = any(status.since is not None for status in statuses)
        return "No canary has a recent result" if has_run else "No canary has run yet"
    if ok == total:
        return f"The canary {statuses[0].name} answers" if total == 1 else f"All {total} canaries answer"
    return f"{ok} of {total} canaries answer; {total - ok} {'has' if total - ok == 1 else 'have'} no recent result"


def _details(affected: Sequence[_AffectedTarget], worst: CanaryState | None, counts: Counter[CanaryState]) -> list[str]:
    """Return what users see, what was tried, and how many other canaries are in another state."""
    if worst is None:
        return []
    details = []
    runs = [status.recent_runs[-1] for each in affected for status in each.canaries if status.recent_runs]
    attempts = max((run.attempts for run in runs), default=0)
    tried = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    if worst is CanaryState.FAILING and attempts:
        details.append(f"users get no answer after {tried}")
    elif worst is CanaryState.DEGRADED:
        details.append("users with the same fallback are served" + (f", after {tried}" if attempts else ""))
    elif worst is CanaryState.SLOW:
        details.append("users are served, over the SLO")
    if len(affected) == 1 and len(affected[0].canaries) == 1 and (message := affected[0].canaries[0].message):
        details.append(scrub(message, limit=_MAX_TEXT))
    others = [state for state in _WORST_FIRST[_WORST_FIRST.index(worst) + 1 :] if counts[state]]
    return details + [f"{counts[each]} more {(_ONE if counts[each] == 1 else _MANY)[each]}" for each in others]


def _still_firing(firing: Sequence[OpenIncident]) -> str:
    named = [f"{shown.incident.rule} ({shown.incident.subject})" for shown in firing[:_MAX_NAMED]]
    rest = f" and {len(firing) - _MAX_NAMED} more" if len(firing) > _MAX_NAMED else ""
    verb = "1 alert fires" if len(firing) == 1 else f"{len(firing)} alerts fire"
    return f"{verb}: {', '.join(named)}{rest}"


def _notified(receivers: Sequence[str], *, has_firing: bool, is_broken: bool) -> list[str]:
    """Return which receivers were notified, or that none was though something is broken."""
    if receivers:
        rest = f" and {len(receivers) - _MAX_NAMED} more" if len(receivers) > _MAX_NAMED else ""
        return [f"notified: {', '.join(receivers[:_MAX_NAMED])}{rest}"]
    if has_firing:
        return ["no receiver is notified"]
    return ["no alert fires"] if is_broken else []


def _alert_counts(muted: int, undelivered: int) -> list[str]:
    counts = []
    if muted:
        counts.append("1 alert is muted" if muted == 1 else f"{muted} alerts are muted")
    if undelivered:
        counts.append(
            "1 notification is not delivered" if undelivered == 1 else f"{undelivered} notifications are not delivered"
        )
    return counts


def _overall_state(
    counts: Counter[CanaryState], total: int, snapshot: StatusSnapshot, firing: Sequence[OpenIncident]
) -> OverallState:
    if any(shown.incident.labels.get(names.SEVERITY, "") in _PAGING_SEVERITIES for shown in firing):
        return OverallState.FAILING
    if any(counts[state] for state in _WORST_FIRST) or snapshot.incidents:
        return OverallState.DEGRADED
    return OverallState.UNKNOWN if counts[CanaryState.UNKNOWN] == total else OverallState.OK


def _since(affected: Sequence[_AffectedTarget], firing: Sequence[OpenIncident]) -> float | None:
    times = [shown.incident.first_bad_at for shown in firing]
    if not times:
        times = [status.since for each in affected for status in each.canaries if status.since is not None]
    return min(times, default=None)


def _is_muted(shown: OpenIncident) -> bool:
    return shown.muted_by is not None or bool(shown.silenced_by)


def _text_of(shown: OpenIncident) -> str:
    """Return the summary of an alert about the daemon, which its rule has."""
    incident = shown.incident
    text = shown.annotations.get("summary") or f"{incident.rule} fires for {incident.subject}"
    return scrub(text, limit=_MAX_TEXT).rstrip(".")
