"""What was learned about bindings: rows that a step changes when a history was evaluated, or a request changed. Pure.

The table has a :data:`LearnedBaseline` under the key of each binding that has learned one, and under the identity of
each canary with such bindings since when it sends the request that it sends now.
"""

from collections.abc import Iterable, Mapping

from streamcanary.alerting.engine.bindings import Bindings
from streamcanary.alerting.engine.state import Draft
from streamcanary.alerting.learning.baseline import LearnedBaseline, RequestSince
from streamcanary.model.canary import Canary


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


def put_learned(draft: Draft, bindings: Bindings, learned: Mapping[str, LearnedBaseline | None]) -> None:
    """Store what was ``learned`` about bindings. A baseline stays while the history has too few samples for another."""
    for key, baseline in learned.items():
        if baseline is not None and bindings.learns(key):  # if not, a reload has removed it in the meantime
            draft.put_baseline(key, baseline)


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
