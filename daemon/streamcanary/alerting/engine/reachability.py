"""When a canary was last heard of, and whether its host could be reached."""

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from streamcanary.model.canary import Canary
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import Outcome, OutcomeKind

UNREACHABLE_FAULTS = frozenset({FaultKind.DNS_FAILED, FaultKind.CONNECT_FAILED, FaultKind.CONNECT_TIMEOUT})
"""Faults after which nobody can say that the host was reached."""

UNREACHABLE_AFTER_RUNS = 2
"""Runs in a row that did not reach a host before it counts as unreachable: one may be a glitch."""


class Reachability(Struct, frozen=True, omit_defaults=True):
    """One canary's last run ``at`` (its end, seconds since the epoch).

    ``lost`` counts runs in a row that reached nobody, up to :data:`ENOUGH`; the first of them was at ``since``, and if
    there are none, that is ``reached``, when somebody was last reached (0 if never).
    ``finding`` is what a preflight found after the first of a row of failures, in words.
    """

    last_seen: float
    unreachable_runs: int = 0
    since: float = 0.0
    diagnosis: str = ""
    last_reached: float = 0.0

    @property
    def is_observed(self) -> bool:
        """Whether a run has said anything yet: one that a budget forbade has not."""
        return bool(self.unreachable_runs or self.since)


def update_reachability(before: Reachability | None, outcome: Outcome) -> Reachability | None:
    """Return the sighting after ``outcome``; ``before`` if it says nothing about the target.

    A run that was skipped for a reason that is known and told of, a budget or a standby, is not missing.
    """
    at = outcome.started + outcome.duration
    if outcome.kind is OutcomeKind.SKIPPED and outcome.reason in ("budget", "standby"):
        return Reachability(at) if before is None else replace(before, last_seen=at)
    if outcome.kind in (OutcomeKind.SKIPPED, OutcomeKind.INTERNAL_ERROR):
        return before
    diagnosis = "" if before is None or outcome.fault is None else before.diagnosis
    if _is_host_reached(outcome):
        return Reachability(at, since=at, diagnosis=diagnosis, last_reached=at)
    unreachable_runs, since = (
        (before.unreachable_runs, before.since) if before is not None and before.unreachable_runs else (0, at)
    )
    return Reachability(
        at,
        min(unreachable_runs + 1, UNREACHABLE_AFTER_RUNS),
        since,
        diagnosis,
        before.last_reached if before is not None else 0.0,
    )


def _is_host_reached(outcome: Outcome) -> bool:
    """Tell whether any host answered to connecting: if so, whatever went wrong is not the way out."""
    faults = [attempt.fault for attempt in outcome.attempts] or [outcome.fault]
    return not all(fault is not None and fault.kind in UNREACHABLE_FAULTS for fault in faults)


class EgressOutage(Struct, frozen=True):
    """Nobody can be reached: which hosts were tried by which canaries, and since when (seconds since the epoch)."""

    hosts: tuple[str, ...]
    canaries: tuple[str, ...]
    since: float

    @property
    def message(self) -> str:
        """What it is, in words."""
        hosts, canaries = _join_names(self.hosts), _join_names(self.canaries)
        return f"{len(self.hosts)} hosts cannot be reached: {hosts}; seen by {canaries}"


def detect_egress_outage(
    canaries: Iterable[Canary], reachability_by_canary: Mapping[str, Reachability]
) -> EgressOutage | None:
    """Return the hosts that cannot be reached, if they are two or more, and none was reached after the first loss."""
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
