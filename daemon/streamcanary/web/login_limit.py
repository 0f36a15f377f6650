"""Limits failed logins of each client address, so that the token cannot be guessed by trying."""

from collections import OrderedDict
from math import ceil
from typing import Final

from streamcanary.model.clock import Clock

MAX_FAILURES: Final = 10
"""Failed logins of one peer in a row, before it has to wait."""

RECOVERY: Final = 30.0
"""Seconds after which a peer may try once more."""

MAX_PEERS: Final = 1000
"""Peers that are remembered; the one that failed least recently is forgotten first."""


class LoginLimit:
    """Counts the failed logins of each peer: a bucket of :data:`MAX_FAILURES` that regains one each :data:`RECOVERY`.

    A peer is an address, see :func:`~streamcanary.web.connection_table.peer_of`: clients behind one proxy share a
    bucket. Only logins are limited; sessions and bearer tokens are not, so that nobody else is locked out of reading.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._full_from: OrderedDict[str, float] = OrderedDict()  # when the bucket of a peer is full again

    def wait(self, peer: str) -> int:
        """Return the seconds until ``peer`` may try again, in monotonic time; 0 if it may now."""
        excess = self._full_at(peer) - self._clock.monotonic() - (MAX_FAILURES - 1) * RECOVERY
        return max(0, ceil(excess))

    def record_failure(self, peer: str) -> None:
        """Count a failed login of ``peer``."""
        self._full_from[peer] = self._full_at(peer) + RECOVERY
        self._full_from.move_to_end(peer)
        if len(self._full_from) > MAX_PEERS:
            self._full_from.popitem(last=False)

    def record_success(self, peer: str) -> None:
        """Forget the failures of ``peer``."""
        self._full_from.pop(peer, None)

    def _full_at(self, peer: str) -> float:
        return max(self._clock.monotonic(), self._full_from.get(peer, 0.0))
