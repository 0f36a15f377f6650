"""Reachability: when each canary last reported a result, and whether its host was reachable."""

from collections.abc import Collection, Iterable, Mapping

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


class Reachability(Struct, frozen=True, omit_defaults=True, gc=False):
    """The last result and the reachability of one canary. All times are in seconds since the epoch.

    ``last_seen`` is the end of the last run. ``unreachable_runs`` counts runs in a row that reached no host, up to
    :data:`UNREACHABLE_AFTER_RUNS`. ``since`` is the time of the first of them; without any it equals ``last_reached``,
    when a host was last reached (0 if never). ``diagnosis`` is the text of the preflight after the first failure.
    ``model`` is the model that answered last, and ``route`` the one that was requested; ``""`` if it is not known.
    ``replica`` is the name of the replica that made the last run, if there are several.
    """

    last_seen: float
    unreachable_runs: int = 0
    since: float = 0.0
    diagnosis: str = ""
    last_reached: float = 0.0
    model: str = ""
    route: str = ""
    replica: str = ""


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
    reached = Reachability(
        at, since=at, diagnosis=diagnosis, last_reached=at, model=model, route=route, replica=outcome.replica
    )
    if _is_host_reached(outcome):
        return reached
    unreachable_runs, since = 0, at
    if before is not None and before.unreachable_runs and before.replica == outcome.replica:
        unreachable_runs, since = before.unreachable_runs, before.since
    return replace(
        reached,
        unreachable_runs=min(unreachable_runs + 1, UNREACHABLE_AFTER_RUNS),
        since=since,
        last_reached=before.last_reached if before is not None else 0.0,
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
    """No host is reachable: the tried hosts, the canaries that tried them, and since when (seconds since the epoch).

    ``replica`` is the one that reaches no host, if there are several.
    """

    hosts: tuple[str, ...]
    canaries: tuple[str, ...]
    since: float
    replica: str = ""

    @property
    def message(self) -> str:
        """The message of the incident."""
        hosts, canaries = _join_names(self.hosts), _join_names(self.canaries)
        which = f"{len(self.hosts)} hosts are unreachable: {hosts}"
        if len(self.hosts) == 1:
            which = f"the host {hosts} is unreachable, and other replicas reach it"
        return f"{f'from replica {self.replica}, ' if self.replica else ''}{which}; canaries: {canaries}"


def detect_egress_outage(
    canaries: Iterable[Canary], reachability_by_canary: Mapping[str, Reachability], replica: str = ""
) -> EgressOutage | None:
    """Return the egress outage of ``replica``, or ``None``.

    It is one if the replica finds two or more hosts unreachable, and has reached no host after the first failure. One
    host is enough if another replica has reached it since, and the last run of no canary here has reached a host. Only
    the canaries count that ``replica`` ran last.
    """
    unreachable_since: dict[str, float] = {}
    reached_by_others: dict[str, float] = {}
    names: list[str] = []
    last_reached, fails_everywhere = 0.0, True
    for canary in canaries:
        reachability = reachability_by_canary.get(canary.identity)
        if reachability is None:
            continue
        if reachability.replica != replica:
            if not reachability.unreachable_runs:
                at = max(reachability.last_reached, reached_by_others.get(canary.host, 0.0))
                reached_by_others[canary.host] = at
        elif reachability.unreachable_runs >= UNREACHABLE_AFTER_RUNS:
            since = min(reachability.since, unreachable_since.get(canary.host, reachability.since))
            unreachable_since[canary.host] = since
            names.append(canary.name)
        else:
            last_reached = max(last_reached, reachability.last_reached)
            fails_everywhere &= bool(reachability.unreachable_runs)
    since = min(unreachable_since.values(), default=0.0)
    if not unreachable_since or last_reached >= since:
        return None
    if len(unreachable_since) == 1:
        [host] = unreachable_since
        if not fails_everywhere or reached_by_others.get(host, 0.0) < since:
            return None
    return EgressOutage(tuple(sorted(unreachable_since)), tuple(names), since, replica)


def find_unreachable(
    canaries: Iterable[Canary], reachability_by_canary: Mapping[str, Reachability], replicas: Collection[str]
) -> frozenset[str]:
    """Return those of ``replicas`` that have found a host unreachable with the last runs of a canary."""
    found: set[str] = set()
    for canary in canaries:
        reachability = reachability_by_canary.get(canary.identity)
        if (
            reachability is not None
            and reachability.unreachable_runs >= UNREACHABLE_AFTER_RUNS
            and reachability.replica in replicas
        ):
            found.add(reachability.replica)
            if len(found) == len(replicas):
                break
    return frozenset(found)


def _join_names(names: tuple[str, ...]) -> str:
    more = len(names) - 5
    return ", ".join(names[:5]) + (f" and {more} more" if more > 0 else "")
