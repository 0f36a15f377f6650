"""Which canaries are in which shard."""

from collections.abc import Iterable, Sequence
from itertools import chain

from streamcanary.model.canary import Canary
from streamcanary.model.replicas import shard_of


class CanariesByShard:
    """The identities of canaries by shard, computed once: of a large fleet, that takes too long at each change."""

    def __init__(self) -> None:
        self._canaries: Sequence[Canary] = ()
        self._identities: dict[str, list[str]] = {}

    def identities(self, canaries: Sequence[Canary], shards: Iterable[str]) -> frozenset[str]:
        """Return the identities of those of ``canaries`` that are in ``shards``."""
        if canaries is not self._canaries:
            self._canaries, self._identities = canaries, {}
            for canary in canaries:
                self._identities.setdefault(shard_of(canary.identity), []).append(canary.identity)
        return frozenset(chain.from_iterable(self._identities.get(shard, ()) for shard in shards))
