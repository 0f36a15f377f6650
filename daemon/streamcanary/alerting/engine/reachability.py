"""When a canary was last heard of, and whether its host could be reached."""

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from streamcanary.model.canary import Canary
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import Outcome, OutcomeKind

UNREACHABLE = frozenset({FaultKind.DNS_FAILED, FaultKind.CONNECT_FAILED, FaultKind.CONNECT_TIMEOUT})
"""Faults after which nobody can say that the host was reached."""

ENOUGH = 2
"""Runs in a row that did not reach a host before it counts as unreachable: one may be a glitch."""


class Sighting(Struct, frozen=True, omit_defaults=True):
    """One canary's last run ``at`` (its end, seconds since the epoch).

    ``lost`` counts runs in a row that reached nobody, up to :data:`ENOUGH`; the first of them was at ``since``, and if
    there are none, that is ``reached``, when somebody was last reached (0 if never).
    ``finding`` is what a preflight found after the first of a row of failures, in words.
    """

    at: float
    lost: int = 0
    since: float = 0.0
    finding: str = ""
    reached: float = 0.0

    @property
    def seen(self) -> bool:
        """Whether a run has said anything yet: one that a budget forbade has not."""
        return bool(self.lost or self.since)


def sight(before: Sighting | None, outcome: Outcome) -> Sighting | None:
    """Return the sighting after ``outcome``; ``before`` if it says nothing about the target.

    A run that was skipped for a reason that is known and told of, a budget or a standby, is not missing.
    """
    at = outcome.started + outcome.duration
    if outcome.kind is OutcomeKind.SKIPPED and outcome.reason in ("budget", "standby"):
        return Sighting(at) if before is None else replace(before, at=at)
    if outcome.kind in (OutcomeKind.SKIPPED, OutcomeKind.INTERNAL_ERROR):
        return before
    finding = "" if before is None or outcome.fault is None else before.finding
    if _reached(outcome):
        return Sighting(at, since=at, finding=finding, reached=at)
    lost, since = (before.lost, before.since) if before is not None and before.lost else (0, at)
    return Sighting(at, min(lost + 1, ENOUGH), since, finding, before.reached if before is not None else 0.0)


def _reached(outcome: Outcome) -> bool:
    """Tell whether any host answered to connecting: if so, whatever went wrong is not the way out."""
    faults = [attempt.fault for attempt in outcome.attempts] or [outcome.fault]
    return not all(fault is not None and fault.kind in UNREACHABLE for fault in faults)


class Blackout(Struct, frozen=True):
    """Nobody can be reached: which hosts were tried by which canaries, and since when (seconds since the epoch)."""

    hosts: tuple[str, ...]
    canaries: tuple[str, ...]
    since: float

    @property
    def message(self) -> str:
        """What it is, in words."""
        hosts, canaries = _some(self.hosts), _some(self.canaries)
        return f"{len(self.hosts)} hosts cannot be reached: {hosts}; seen by {canaries}"


def blackout(canaries: Iterable[Canary], sightings: Mapping[str, Sighting]) -> Blackout | None:
    """Return the hosts that cannot be reached, if they are two or more, and none was reached after the first loss."""
    lost: dict[str, float] = {}
    names, reached = [], []
    for canary in canaries:
        sighting = sightings.get(canary.identity)
        if sighting is None:
            continue
        if sighting.lost >= ENOUGH:
            lost[canary.host] = min(sighting.since, lost.get(canary.host, sighting.since))
            names.append(canary.name)
        else:
            reached.append(sighting.reached)
    if len(lost) < 2:
        return None
    since = min(lost.values())
    if any(at >= since for at in reached):
        return None
    return Blackout(tuple(sorted(lost)), tuple(names), since)


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - 5
    return ", ".join(names[:5]) + (f" and {more} more" if more > 0 else "")
