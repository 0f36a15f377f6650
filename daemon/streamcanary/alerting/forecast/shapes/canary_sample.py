"""A sample of many canaries for simulations, in which each rule watches some of them as before."""

from collections.abc import Mapping, Sequence
from typing import Final

from streamcanary.alerting.rules import Rule
from streamcanary.model.canary import Canary

MAX_CANARIES: Final = 12
"""How many canaries are simulated at most."""

_MAX_ALIKE = 8


def sample_canaries(rules: Mapping[str, Rule], canaries: Sequence[Canary]) -> list[Canary]:
    """Return ``canaries``, or a sample of at most :data:`MAX_CANARIES`: some of each kind, as far as there is room.

    Canaries are of the same kind if they have the same target, schedule and labels, and the same ``rules`` watch them.
    Kinds that a rule needs, because it watches no other, come first.
    """
    if len(canaries) <= MAX_CANARIES:
        return list(canaries)
    kinds: dict[tuple[object, ...], list[Canary]] = {}
    watchers = {
        canary.name: frozenset(name for name, rule in rules.items() if rule.applies_to(canary)) for canary in canaries
    }
    for canary in canaries:
        kind = watchers[canary.name], canary.target, canary.schedule, tuple(sorted(canary.labels.items()))
        kinds.setdefault(kind, []).append(canary)
    needed: list[list[Canary]] = []
    others: list[list[Canary]] = []
    covered: set[str] = set()
    for some in sorted(kinds.values(), key=len, reverse=True):
        watching = watchers[some[0].name]
        (others if watching <= covered else needed).append(some[:_MAX_ALIKE])
        covered |= watching
    ordered = [*needed, *others]
    found: list[Canary] = []
    for number, some in enumerate(ordered):
        # at least one of each that a rule needs
        room = MAX_CANARIES - len(found) - max(0, len(needed) - number - 1)
        found += some[: max(0, room)]
    chosen = {canary.name for canary in found}
    return [canary for canary in canaries if canary.name in chosen]
