"""How fast the simulator answers, and how slow its slow faults are."""

from msgspec import Struct


class Timings(Struct, frozen=True, kw_only=True):
    """The times that the simulator keeps, all in seconds.

    ``first_token`` passes between the role and the first text of an answer, ``chunk_gap`` between any two chunks.
    ``slow_first_token`` and ``slow_gap`` take their places in ``slow-first-token`` and ``slow-drip``; ``ping_gap`` lies
    between two keep-alive comments or empty deltas. ``retry_after`` is what a 429 asks for, rounded up to whole seconds
    where the header knows no others. ``hang`` ends what would otherwise last for ever. A client has ``request`` to send
    a request that it has begun, and ``idle`` to begin the next.
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
