"""The members of a pooled alert: which of its canaries fail, and which do not, since the evidence begins."""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from streamcanary.model.alerts.incident import MAX_FAILING, MAX_UNAFFECTED, Evidence, MemberCounts

MAX_COUNTED: Final = 50
"""The number of canaries of a pooled alert that are counted, failing ones first: a row of the store stays small."""


class CountedMember(Struct, frozen=True, array_like=True):
    """``bad`` of the ``total`` samples of canary ``name``, the last bad one at ``last_bad`` (seconds since the epoch).

    ``last_bad`` is 0 without a bad one.
    """

    name: str
    bad: int
    total: int
    last_bad: float


class Members(Struct, frozen=True, omit_defaults=True):
    """The counts of the canaries that had a sample since the evidence begins; empty while none of them fails.

    ``is_full`` is whether further canaries failed that are not counted.
    """

    counted: tuple[CountedMember, ...] = ()
    is_full: bool = False

    @property
    def failing(self) -> list[CountedMember]:
        """The counts of the canaries that fail."""
        return [member for member in self.counted if member.bad]

    def record(self, name: str, *, bad: bool, at: float, since: float) -> "Members":
        """Return the counts after a sample of canary ``name`` at ``at``, as seconds since the epoch.

        Canaries that failed only before ``since``, when the evidence begins, are dropped.
        """
        if not self.counted and not bad:
            return self
        kept = [member for member in self.counted if not member.bad or member.last_bad >= since]
        if not bad and not any(member.bad for member in kept):
            return Members()
        for index, member in enumerate(kept):
            if member.name == name:
                kept[index] = CountedMember(name, member.bad + bad, member.total + 1, at if bad else member.last_bad)
                return Members(tuple(kept), self.is_full)
        if len(kept) < MAX_COUNTED:
            return Members((*kept, CountedMember(name, int(bad), 1, at if bad else 0.0)), self.is_full)
        if not bad:
            return Members(tuple(kept), self.is_full)
        good = next((index for index, member in enumerate(kept) if not member.bad), None)
        if good is None:
            return Members(tuple(kept), is_full=True)
        kept[good] = CountedMember(name, 1, 1, at)
        return Members(tuple(kept), self.is_full)

    def renamed(self, names: Mapping[str, str]) -> "Members":
        """Return the counts of those canaries that are in ``names``, with their current names."""
        if all(names.get(member.name) == member.name for member in self.counted):
            return self
        known = [
            CountedMember(names[member.name], *msgspec.structs.astuple(member)[1:])
            for member in self.counted
            if member.name in names
        ]
        return Members(tuple(known), self.is_full) if any(member.bad for member in known) else Members()

    def add_to(self, evidence: Evidence) -> Evidence:
        """Return ``evidence`` with the canaries that fail, the worst first, and those that do not."""
        failing = sorted(self.failing, key=lambda member: (-member.bad, -member.bad / member.total, member.name))
        unaffected = [member.name for member in self.counted if not member.bad]
        return msgspec.structs.replace(
            evidence,
            failing=tuple(MemberCounts(member.name, member.bad, member.total) for member in failing[:MAX_FAILING]),
            failing_count=len(failing),
            has_more_failing=self.is_full,
            unaffected=tuple(sorted(unaffected)[:MAX_UNAFFECTED]),
            unaffected_count=len(unaffected),
        )
