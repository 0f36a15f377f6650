"""The members of a pooled alert: which of its canaries fail, and which do not, recently.

One failure among many runs is normal. A canary fails if as many of its runs would hardly ever fail at the normal rate,
by the tail of the binomial distribution. Its counts are halved after some runs, so that they forget what is over.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Struct

from streamcanary.model.alerts.incident import MAX_FAILING, MAX_UNAFFECTED, Evidence, MemberCounts

MAX_COUNTED: Final = 50
"""The number of canaries of a pooled alert that are counted, failing ones first: a row of the store stays small."""


NORMAL_RATE: Final = 0.02
"""The rate of failures that is normal, unless the rule says otherwise."""

_FORGET_AT = 40  # samples of a canary at which its counts are halved
_DOWN_AFTER = 3  # bad samples in a row of a canary that is down
_UNLIKELY = 0.01
_VERY_UNLIKELY = 0.0005


class CountedMember(Struct, frozen=True, array_like=True, gc=False):
    """``bad`` of the ``total`` samples of canary ``name``, the last bad one at ``last_bad`` (seconds since the epoch).

    ``last_bad`` is 0 without a bad one. The last ``bad_in_a_row`` samples were bad, at most three of them are counted.
    """

    name: str
    bad: int
    total: int
    last_bad: float
    bad_in_a_row: int = 0


class Members(Struct, frozen=True, omit_defaults=True, gc=False):
    """The counts of the canaries that had a sample since the evidence begins; empty while none of them fails.

    ``is_full`` is whether further canaries failed that are not counted. ``normal`` is the rate of failures that is
    normal, from 0 to 1.
    """

    counted: tuple[CountedMember, ...] = ()
    is_full: bool = False
    normal: float = NORMAL_RATE

    @property
    def failing(self) -> list[CountedMember]:
        """The counts of the canaries that fail, for texts; if none stands out, of all with a failure."""
        unlikely = [
            one for one in self.counted if _chance(one.bad, one.total, self.normal) < _UNLIKELY or _all_bad(one)
        ]
        return unlikely or [member for member in self.counted if member.bad]

    @property
    def probably_failing(self) -> list[CountedMember]:
        """The counts of the canaries that probably fail: never one of which a single run failed."""
        return [one for one in self.counted if one.bad > 1 and _chance(one.bad, one.total, self.normal) < _UNLIKELY]

    @property
    def certainly_failing(self) -> list[CountedMember]:
        """The counts of the canaries that certainly fail: never one of which a single run failed."""
        return [
            one
            for one in self.counted
            if one.bad > 1 and (_all_bad(one) or _chance(one.bad, one.total, self.normal) < _VERY_UNLIKELY)
        ]

    @property
    def down(self) -> frozenset[str]:
        """The names of the canaries that had no good sample, or none of the last three."""
        return frozenset(one.name for one in self.counted if _all_bad(one) or one.bad_in_a_row >= _DOWN_AFTER)

    def record(self, name: str, *, bad: bool, at: float, since: float, normal: float = NORMAL_RATE) -> "Members":
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
                kept[index] = _counted(member, bad=bad, at=at)
                return Members(tuple(kept), self.is_full, normal)
        if len(kept) < MAX_COUNTED:
            counts = CountedMember(name, int(bad), 1, at if bad else 0.0, int(bad))
            return Members((*kept, counts), self.is_full, normal)
        if not bad:
            return Members(tuple(kept), self.is_full, normal)
        good = next((index for index, member in enumerate(kept) if not member.bad), None)
        if good is None:
            return Members(tuple(kept), is_full=True, normal=normal)
        kept[good] = CountedMember(name, 1, 1, at, 1)
        return Members(tuple(kept), self.is_full, normal)

    def renamed(self, names: Mapping[str, str]) -> "Members":
        """Return the counts of those canaries that are in ``names``, with their current names."""
        if all(names.get(member.name) == member.name for member in self.counted):
            return self
        known = [
            CountedMember(names[member.name], *msgspec.structs.astuple(member)[1:])
            for member in self.counted
            if member.name in names
        ]
        return Members(tuple(known), self.is_full, self.normal) if any(member.bad for member in known) else Members()

    def add_to(self, evidence: Evidence) -> Evidence:
        """Return ``evidence`` with the canaries that fail, the worst first, and those that do not."""
        failing = sorted(self.failing, key=lambda member: (-member.bad, -member.bad / member.total, member.name))
        names = {member.name for member in failing}
        unaffected = [member.name for member in self.counted if member.name not in names]
        return msgspec.structs.replace(
            evidence,
            failing=tuple(MemberCounts(member.name, member.bad, member.total) for member in failing[:MAX_FAILING]),
            failing_count=len(failing),
            has_more_failing=self.is_full,
            unaffected=tuple(sorted(unaffected)[:MAX_UNAFFECTED]),
            unaffected_count=len(unaffected),
        )


def _counted(member: CountedMember, *, bad: bool, at: float) -> CountedMember:
    """Return the counts of ``member`` with one more sample, halved if there are many."""
    total, failed = member.total + 1, member.bad + bad
    if total >= _FORGET_AT:
        total, failed = total // 2, failed // 2
    in_a_row = min(member.bad_in_a_row + 1, _DOWN_AFTER) if bad else 0
    return CountedMember(member.name, failed, total, at if bad else member.last_bad, in_a_row)


def _all_bad(member: CountedMember) -> bool:
    return member.bad == member.total


@lru_cache(maxsize=4096)
def _chance(bad: int, total: int, rate: float) -> float:
    """Return the probability that ``bad`` or more of ``total`` samples fail at ``rate``."""
    fewer = (math.comb(total, count) * rate**count * (1 - rate) ** (total - count) for count in range(bad))
    return 1 - sum(fewer)
