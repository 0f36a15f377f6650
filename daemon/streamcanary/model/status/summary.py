"""The status of everything in one sentence, for people who look for five seconds."""

from enum import StrEnum

from msgspec import Struct


class OverallState(StrEnum):
    """The worst of what is true now."""

    OK = "ok"
    """All canaries that have run are answered, and nothing fires."""
    DEGRADED = "degraded"
    """Canaries fail or are slow and no alert fires, or an alert fires that does not page."""
    FAILING = "failing"
    """An alert fires that pages: its ``severity`` is ``page`` or ``critical``, or it has none."""
    UNKNOWN = "unknown"
    """No canary has run yet."""


class StatusSummary(Struct, frozen=True, kw_only=True):
    """The status of the daemon in one sentence.

    ``sentence`` says what is broken and for whom: ``openai: 6 of 8 canaries fail (stalled)``. ``detail`` says what
    users see, what was tried, and who was notified; ``notified`` are the receivers that have accepted a notification of
    an open incident. ``since`` is when it began, ``started`` when the daemon started, and ``time`` now; seconds since
    the epoch. ``counts`` are the canaries by state.
    """

    state: OverallState
    sentence: str
    detail: str = ""
    since: float | None = None
    counts: dict[str, int]
    firing: int = 0
    silenced: int = 0
    undelivered: int = 0
    notified: tuple[str, ...] = ()
    instance: str
    version: str
    started: float
    time: float
