"""Which incidents may inhibit which, under one configuration.

``CanaryEgressDown`` inhibits the alerts of canaries, ``TargetRejected`` the other alerts of its canary,
``BudgetExhausted`` and ``BehindSchedule`` ``NoData``. Of the alerts of one rule with several scopes, an alert of more
canaries inhibits those whose canaries it contains. The reverse holds only for an alert that receivers do not have yet,
and only while each of its failing canaries is silenced, or has an alert that was opened before: it would say nothing
new.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from streamcanary.alerting.builtin_rules import (
    BEHIND_SCHEDULE,
    BUDGET_EXHAUSTED,
    CANARY_EGRESS_DOWN,
    NO_DATA,
    TARGET_REJECTED,
)
from streamcanary.alerting.measures import Measure
from streamcanary.alerting.scope import alert_labels

if TYPE_CHECKING:
    from streamcanary.alerting.engine.bindings import Binding

_NO_MEMBERS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({})


class Inhibitors(NamedTuple):
    """The keys of the incidents that may inhibit one incident.

    One of ``any_of`` is enough. ``by_member`` has further keys for each canary of a pooled alert: they inhibit it if
    each failing canary has one.
    """

    any_of: tuple[str, ...] = ()
    by_member: Mapping[str, tuple[str, ...]] = _NO_MEMBERS


class Inhibition:
    """The inhibitors of each incident. ``bindings`` are by key; ``key_for`` returns the key of a rule and a subject."""

    def __init__(self, bindings: Mapping[str, "Binding"], instance: str, key_for: Callable[[str, str], str]) -> None:
        self._bindings = bindings
        self._instance = instance
        self._egress = (key_for(CANARY_EGRESS_DOWN, "egress"),)
        self._skipped_runs = (key_for(BUDGET_EXHAUSTED, "budget"), key_for(BEHIND_SCHEDULE, "schedule"))
        self._key_for = key_for
        self._nested: dict[str, Inhibitors] = {}  # of rules with alerts of several canaries; others are made when used
        by_rule: dict[str, list[Binding]] = {}
        for binding in bindings.values():
            by_rule.setdefault(binding.rule_name, []).append(binding)
        for of_rule in by_rule.values():
            if any(binding.is_wide for binding in of_rule) and not _is_never_inhibited(of_rule[0]):
                self._add_nested(of_rule)

    def of(self, key: str) -> Inhibitors:
        """Return the inhibitors of the incident of ``key``."""
        if (nested := self._nested.get(key)) is not None:
            return nested
        binding = self._bindings.get(key)
        if binding is None or _is_never_inhibited(binding):
            return Inhibitors()
        return self._of_canary(binding)

    def canaries_of(self, key: str) -> frozenset[str]:
        """Return the names of the canaries that the incident of ``key`` is about; empty if it is about none."""
        binding = self._bindings.get(key)
        return frozenset(canary.name for canary in binding.canaries) if binding is not None else frozenset()

    def member_labels(self, key: str, canary: str) -> dict[str, str]:
        """Return the labels that an alert of ``canary`` alone would have instead of the pooled one of ``key``.

        Empty if the canary is no member of it.
        """
        binding = self._bindings.get(key)
        if binding is None or not binding.is_wide:
            return {}
        member = next((one for one in binding.canaries if one.name == canary), None)
        if member is None:
            return {}
        labels = alert_labels(binding.rule_name, binding.rule, member.label_set(), self._instance)
        return {**labels, "alert": binding.rule_name}

    def _of_canary(self, binding: "Binding", wider: tuple[str, ...] = ()) -> Inhibitors:
        """Return the inhibitors of an alert of one canary, with the ``wider`` ones of the same rule."""
        if binding.rule_name == NO_DATA:
            return Inhibitors(self._skipped_runs)
        return Inhibitors((*self._egress, self._rejection_of(binding.canaries[0].name), *wider))

    def _add_nested(self, bindings: list["Binding"]) -> None:
        wider, narrower = _nested(bindings)
        for binding in bindings:
            wide = wider.get(binding.key, ())
            if binding.is_wide:
                by_member = {
                    canary.name: (self._rejection_of(canary.name), *narrower.get((binding.key, canary.name), ()))
                    for canary in binding.canaries
                }
                self._nested[binding.key] = Inhibitors((*self._egress, *wide), by_member)
            else:
                self._nested[binding.key] = self._of_canary(binding, wide)

    def _rejection_of(self, canary: str) -> str:
        return self._key_for(TARGET_REJECTED, canary)


def _is_never_inhibited(binding: "Binding") -> bool:
    return binding.rule_name == TARGET_REJECTED or binding.rule.measure is Measure.CERTIFICATE_EXPIRY


def _nested(
    bindings: list["Binding"],
) -> tuple[dict[str, tuple[str, ...]], dict[tuple[str, str], tuple[str, ...]]]:
    """Return the keys of the wider bindings of each, and those of the narrower ones by key and canary.

    A binding is wider than another one if it has all its canaries and more.
    """
    wider: dict[str, tuple[str, ...]] = {}
    narrower: dict[tuple[str, str], tuple[str, ...]] = {}
    by_canary: dict[str, list[Binding]] = {}
    for binding in bindings:
        for canary in binding.canaries:
            by_canary.setdefault(canary.name, []).append(binding)
    for wide in (binding for binding in bindings if binding.is_wide):
        names = {canary.name for canary in wide.canaries}
        contained: dict[str, bool] = {}
        for canary in wide.canaries:
            for other in by_canary[canary.name]:
                if other.key not in contained:
                    contained[other.key] = len(other.canaries) < len(names) and all(
                        one.name in names for one in other.canaries
                    )
                    if contained[other.key]:
                        wider[other.key] = (*wider.get(other.key, ()), wide.key)
                if contained[other.key]:
                    narrower[wide.key, canary.name] = (*narrower.get((wide.key, canary.name), ()), other.key)
    return wider, narrower
