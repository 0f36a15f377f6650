"""Reachability: when each canary last reported a result, and whether its host was reachable."""

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from streamcanary.alerting.engine.evaluation.samples import answering_model
from streamcanary.model.canary import Canary
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import Outcome, OutcomeKind

UNREACHABLE_FAULTS = frozenset({FaultKind.DNS_FAILED, FaultKind.CONNECT_FAILED, FaultKind.CONNECT_TIMEOUT})
"""Faults that mean that the host was not reached."""

UNREACHABLE_AFTER_RUNS = 2
"""Runs in a row without reaching a host after which it counts as unreachable; a single one may be a glitch."""


class Reachability(Struct, frozen=True, omit_defaults=True):
    """The last result and the reachability of one canary. All times are in seconds since the epoch.

    ``last_seen`` is the end of the last run. ``unreachable_runs`` counts runs in a row that reached no host, up to
    :data:`UNREACHABLE_AFTER_RUNS`. ``since`` is the time of the first of them; without any it equals ``last_reached``,
    when a host was last reached (0 if never). ``diagnosis`` is the text of the preflight after the first failure.
    ``model`` is the model that answered last, and ``route`` the one that was requested; ``""`` if it is not known.
    """

    last_seen: float
    unreachable_runs: int = 0
    since: float = 0.0
    diagnosis: str = ""
    last_reached: float = 0.0
    model: str = ""
    route: str = ""


def update_reachability(before: Reachability | None, outcome: Outcome) -> Reachability | None:
    """Return the reachability after ``outcome``; ``before`` if ``outcome`` has no information about the target.

    A run that was skipped because of the budget or a standby is not missing: that reason is reported elsewhere.
    """
    at = outcome.started + outcome.duration
    if outcome.kind is OutcomeKind.SKIPPED and outcome.reason in ("budget", "standby"):
        return Reachability(at) if before is None else replace(before, last_seen=at)
    if outcome.kind in (OutcomeKind.SKIPPED, OutcomeKind.INTERNAL_ERROR):
        return before
    diagnosis = "" if before is None or outcome.fault is None else before.diagnosis
    model, route = answering_model(outcome), _primary_route(outcome)
    if model is None:
        model, route = (before.model, before.route) if before is not None else ("", "")
    if _is_host_reached(outcome):
        return Reachability(at, since=at, diagnosis=diagnosis, last_reached=at, model=model, route=route)
    unreachable_runs, since = (
        (before.unreachable_runs, before.since) if before is not None and before.unreachable_runs else (0, at)
    )
    return Reachability(
        at,
        min(unreachable_runs + 1, UNREACHABLE_AFTER_RUNS),
        since,
        diagnosis,
        before.last_reached if before is not None else 0.0,
        model,
        route,
    )


def with_previous_model(outcome: Outcome, before: Reachability | None) -> Outcome:
    """Return ``outcome`` with the model that answered before, if another one answers now.

    The canary sets it, too, but does not know earlier runs that the store has lost. An answer to a request for another
    model than before, by a new configuration, is no change.
    """
    if before is None or not before.model or outcome.previous_model is not None:
        return outcome
    if before.route and before.route != _primary_route(outcome):
        return outcome
    return (
        outcome if answering_model(outcome) in (None, before.model) else replace(outcome, previous_model=before.model)
    )


def _primary_route(outcome: Outcome) -> str:
    return outcome.attempts[0].route if outcome.attempts else ""


def _is_host_reached(outcome: Outcome) -> bool:
    """Return whether a connection to any host succeeded: if so, the fault is not an egress outage."""
    faults = [attempt.fault for attempt in outcome.attempts] or [outcome.fault]
    return not all(fault is not None and fault.kind in UNREACHABLE_FAULTS for fault in faults)


class EgressOutage(Struct, frozen=True):
    """No host is reachable: the tried hosts, the canaries that tried them, and since when (seconds since the epoch)."""

    hosts: tuple[str, ...]
    canaries: tuple[str, ...]
    since: float

    @property
    def message(self) -> str:
        """The message of the incident."""
        hosts, canaries = _join_names(self.hosts), _join_names(self.canaries)
        return f"{len(self.hosts)} hosts are unreachable: {hosts}; canaries: {canaries}"


def detect_egress_outage(
    canaries: Iterable[Canary], reachability_by_canary: Mapping[str, Reachability]
) -> EgressOutage | None:
    """Return the egress outage, or ``None``.

    It is one if two or more hosts are unreachable, and no host was reached after the first failure.
    """
    unreachable_since: dict[str, float] = {}
    names, reached = [], []
    for canary in canaries:
        reachability = reachability_by_canary.get(canary.identity)
        if reachability is None:
            continue
        if reachability.unreachable_runs >= UNREACHABLE_AFTER_RUNS:
            unreachable_since[canary.host] = min(
                reachability.since, unreachable_since.get(canary.host, reachability.since)
            )
            names.append(canary.name)
        else:
            reached.append(reachability.last_reached)
    if len(unreachable_since) < 2:
        return None
    since = min(unreachable_since.values())
    if any(at >= since for at in reached):
        return None
    return EgressOutage(tuple(sorted(unreachable_since)), tuple(names), since)


def _join_names(names: tuple[str, ...]) -> str:
    more = len(names) - 5
    return ", ".join(names[:5]) + (f" and {more} more" if more > 0 else "")
