"""The timings of the simulator: its delays and timeouts."""

from msgspec import Struct


class Timings(Struct, frozen=True, kw_only=True):
    """The delays and timeouts of the simulator, all in seconds.

    ``first_token`` is the delay between the role and the first text of an answer, ``chunk_gap`` the delay between two
    chunks. ``slow_first_token`` and ``slow_gap`` replace them in ``slow-first-token`` and ``slow-drip``;
    ``keepalive_gap`` is the delay between two keep-alive comments or empty deltas. ``retry_after`` is the delay that a
    429 requests, rounded up to whole seconds where the header requires it. ``hang`` limits faults that would otherwise
    have no end. ``request_timeout`` limits the receipt of a request, ``idle_timeout`` the wait for the next one.
    """

    first_token: float = 0.02
    chunk_gap: float = 0.005
    slow_first_token: float = 40.0
    slow_gap: float = 2.0
    keepalive_gap: float = 0.5
    retry_after: float = 2.0
    hang: float = 900.0
    request_timeout: float = 10.0
    idle_timeout: float = 75.0
