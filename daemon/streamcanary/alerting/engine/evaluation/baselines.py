"""What was learned about bindings: rows that a step changes when a history was evaluated, or a request changed. Pure.

The table has a :data:`LearnedBaseline` under the key of each binding that has learned one, and under the identity of
each canary with such bindings since when it sends the request that it sends now.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from streamcanary.alerting.engine.bindings import Binding, Bindings
from streamcanary.alerting.engine.state import Draft
from streamcanary.alerting.learning.baseline import LearnedBaseline, RequestSince
from streamcanary.model.canary import Canary

LONGEST_INCIDENT: Final = 14 * 86400.0
"""Seconds that an alert fires until what happens now counts as normal: longer, it is no incident any more."""


def request_key(canary: Canary) -> str:
    """Return the key of the row that says since when ``canary`` sends its request."""
    return f"canary:{canary.identity}"


def learned_baseline(baselines: Mapping[str, LearnedBaseline | RequestSince], key: str) -> LearnedBaseline | None:
    """Return what was learned about the binding of ``key``; ``None`` if nothing was."""
    baseline = baselines.get(key)
    return None if isinstance(baseline, RequestSince) else baseline


def requests_since(
    baselines: Mapping[str, LearnedBaseline | RequestSince], canaries: Iterable[Canary]
) -> dict[str, float]:
    """Return since when (seconds since the epoch) each of ``canaries`` sends its request, by identity."""
    rows = {canary.identity: baselines.get(request_key(canary)) for canary in canaries}
    return {identity: row.since for identity, row in rows.items() if isinstance(row, RequestSince)}


def put_learned(
    draft: Draft, bindings: Bindings, learned: Mapping[str, LearnedBaseline | None], now: float
) -> Iterator[Binding]:
    """Store what was ``learned`` about bindings, and yield those whose detector may now be another one.

    A baseline stays while the history has too few samples for another, and while the alert of the binding fires, for
    :data:`LONGEST_INCIDENT`: an outage that goes on would otherwise become normal, and its alert resolve.
    """
    for key, baseline in learned.items():
        binding = bindings.get(key)
        if baseline is None or binding is None or not bindings.learns(key):  # a reload may have removed it
            continue
        incident = draft.incidents.get(key)
        if incident is not None and incident.is_firing and now - incident.opened < LONGEST_INCIDENT:
            continue
        draft.put_baseline(key, baseline)
        yield bindings.with_baseline(binding, draft.baselines)


def adapt_baselines(draft: Draft, bindings: Bindings, now: float) -> None:
    """Remove the baselines of bindings that are gone, that no longer learn, or whose canary sends another request.

    What was learned from several canaries stays when the request of one of them changes.
    """
    learning = bindings.learning_canaries
    keep = {request_key(canary) for canary in learning}
    for key in list(draft.baselines):
        if key not in keep and not bindings.learns(key):
            draft.remove("baselines", key)
    changed = set()
    for canary in learning:
        key = request_key(canary)
        before = draft.baselines.get(key)
        if not isinstance(before, RequestSince):
            draft.put_baseline(key, RequestSince(digest=canary.request_digest))
        elif before.digest != canary.request_digest:
            draft.put_baseline(key, RequestSince(digest=canary.request_digest, since=now))
            changed.add(canary.name)
    for binding in bindings.learning:
        if binding.key in draft.baselines and changed.issuperset(canary.name for canary in binding.canaries):
            draft.remove("baselines", binding.key)
