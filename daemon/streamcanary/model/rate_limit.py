"""The rate limits that a provider reports with a response, and how much of them is left."""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

_SHORTEST_RESET = 1.0  # seconds; 0 is a time that has passed, by a clock that differs from ours

QuotaType = Literal["requests", "tokens"]


class Quota(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One quota: ``remaining`` of ``limit`` requests or tokens, and the seconds until it is reset.

    ``remaining`` and ``limit`` are counts; ``None`` where the provider does not report them. Some report no limit.
    """

    remaining: int | None = None
    limit: int | None = None
    reset_after: float | None = None

    @property
    def headroom(self) -> float | None:
        """The part of the quota that is left, from 0 to 1; ``None`` if it does not follow from what is reported.

        A quota that is whole again within a second is not scarce, whatever is left of it: one request a second, for
        example, is used up by each request.
        """
        if self.remaining is None:
            return None
        if self.reset_after is not None and 0 < self.reset_after <= _SHORTEST_RESET:
            return 1.0
        if self.remaining == 0:
            return 0.0
        return min(1.0, self.remaining / self.limit) if self.limit else None


class RateLimits(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The quotas of one response, of each type the one with the least left."""

    requests: Quota | None = None
    tokens: Quota | None = None

    def by_type(self) -> Iterator[tuple[QuotaType, Quota]]:
        """Yield the quotas that are reported, with their types."""
        if self.requests is not None:
            yield "requests", self.requests
        if self.tokens is not None:
            yield "tokens", self.tokens

    @property
    def lowest(self) -> tuple[QuotaType, Quota, float] | None:
        """The type, quota and headroom of the quota with the least headroom; ``None`` if none is known."""
        known = [(kind, quota, quota.headroom) for kind, quota in self.by_type()]
        found = [(kind, quota, headroom) for kind, quota, headroom in known if headroom is not None]
        return min(found, key=lambda item: item[2], default=None)
