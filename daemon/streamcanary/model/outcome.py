"""The result of one attempt, and of one run of a canary.

Each run makes some of these values. They cannot be part of a cycle of references, so that garbage collection need not
visit them (``gc=False``).
"""

from enum import StrEnum
from typing import Literal

from msgspec import Struct

from streamcanary.model.faults import Fault
from streamcanary.model.rate_limit import RateLimits


class OutcomeKind(StrEnum):
    """The outcome of a run. *Primary* is the primary route of the canary, including its retries."""

    OK = "ok"
    """The primary gave a complete answer, as expected, within its ``slo``."""
    SLOW = "slow"
    """The same, over its ``slo``."""
    FAILED_OVER = "failed_over"
    """The primary failed, and a fallback answered."""
    FAILED = "failed"
    """No route gave a complete answer with the expected content."""
    INTERNAL_ERROR = "internal_error"
    """The canary itself failed; the result says nothing about the target."""
    SKIPPED = "skipped"
    """Not run; ``reason`` is budget, overlap, late, concurrency, standby or shutdown."""


class BudgetState(StrEnum):
    """The state of the budget of the canaries when a run was due. *exhausted* and *slowed* runs were skipped."""

    WITHIN = "within"
    """The budget allowed the run."""
    EXEMPT = "exempt"
    """The run costs nothing; it is allowed with any budget left."""
    SLOWED = "slowed"
    """Skipped so that the budget lasts for the day: each canary runs only every n-th time."""
    EXHAUSTED = "exhausted"
    """Skipped: the USD of the day are spent. Nothing that costs money runs until the next day."""


Connection = Literal["new", "reused"]
"""Whether an attempt opened a connection, or used one that an earlier request left open."""


class PhaseDurations(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The seconds of each phase of an attempt; ``None`` for a phase that it did not have.

    They add up to its duration without the preparation of the request in this process.
    ``headers`` is the time from the connection to the status of the response, ``first_token`` from there to the first
    token, ``streaming`` from there to the end of the answer. The last phase of a failed attempt is the one in which it
    failed. ``dns`` is known for canaries; for other users of the client, ``connect`` includes it. With a proxy, these
    two are about the proxy.
    """

    dns: float | None = None
    connect: float | None = None
    tls: float | None = None
    headers: float | None = None
    first_token: float | None = None
    streaming: float | None = None

    def items(self) -> tuple[tuple[str, float], ...]:
        """Return the names and durations of the phases that the attempt had, in their order."""
        pairs = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return tuple((name, seconds) for name, seconds in pairs if seconds is not None)


class OutputSpeed(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """How fast an answer was generated after its first token.

    ``seconds`` is the time from the first token to the last, without pauses of the caller. ``is_estimated``: the
    provider reported no token counts, or impossible ones, so the tokens were estimated from the text.
    """

    tokens_per_second: float
    seconds: float
    is_estimated: bool = False


class Retirement(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a provider announces about the end of a model or endpoint, in seconds since the epoch.

    ``deprecation``: since when it is deprecated (RFC 9745), also a time to come; ``sunset``: when it will stop
    answering (RFC 8594). ``None`` if no time was announced. ``is_deprecated``: it is or will be deprecated, with a date
    or without one.
    """

    deprecation: float | None = None
    sunset: float | None = None
    is_deprecated: bool = False


class Attempt(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One request within a call.

    ``started`` is wall time (seconds since the epoch), ``duration`` and the others are seconds.
    ``delay`` is the wait before this attempt. ``fault`` is ``None`` if the answer was complete. ``connection`` is
    ``None`` if none was opened, or if the transport does not show it. ``certificate_expiry`` is when the first of the
    endpoint's certificates expires, in seconds since the epoch, if the connection has TLS, also if it is a reused one.
    ``max_gap`` and ``median_gap`` are the longest and the median time between two of its tokens. ``rate_limits`` and
    ``retirement`` are what the headers of the response report.
    """

    number: int
    route: str
    started: float
    duration: float
    fault: Fault | None = None
    time_to_first_token: float | None = None
    chunks: int = 0
    request_id: str | None = None
    delay: float = 0.0
    phases: PhaseDurations = PhaseDurations()
    connection: Connection | None = None
    certificate_expiry: float | None = None
    max_gap: float | None = None
    median_gap: float | None = None
    output_speed: OutputSpeed | None = None
    rate_limits: RateLimits | None = None
    retirement: Retirement | None = None


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Token counts of a call, as the provider reports them; ``is_estimated`` if it reports impossible ones.

    ``reasoning_tokens`` are the part of ``output_tokens`` that the model used to reason.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    is_estimated: bool = False


class Outcome(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The result of one run.

    Times are seconds: ``scheduled`` and ``started`` since the epoch, the others durations.
    ``fault`` is the fault of the primary, set for ``failed`` and ``failed_over``.
    ``cost`` is the cost of its attempts in USD, estimated where the provider reported no token counts; ``None`` if
    nothing was sent or no price is known. ``budget`` is set for runs skipped because of a budget, and with
    ``usd_per_day`` for each run. ``trace_id`` is 32 hex digits, if the run was traced.
    ``certificate_expiry`` is when the first certificate of the primary expires, in seconds since the epoch, if the run
    had a connection to it with TLS.
    ``lag`` is the time by which the event loop of the daemon was late during the run, in seconds: the other times are
    too long by up to that. ``system_fingerprint`` and ``service_tier`` are what the provider reports with the answer of
    ``model``. ``previous_model`` is the model that answered the run before, if it was another one. ``replica`` is the
    name of the replica that made the run, if several share a database; otherwise it is empty. ``behind_schedule`` is
    whether the daemon had been too slow to make all runs on time for two minutes.
    """

    run_id: str
    canary: str
    target: str
    provider: str
    kind: OutcomeKind
    scheduled: float
    started: float
    duration: float = 0.0
    fault: Fault | None = None
    reason: str | None = None
    attempts: tuple[Attempt, ...] = ()
    time_to_first_token: float | None = None
    max_gap: float | None = None
    degraded: str | None = None
    median_gap: float | None = None
    output_speed: OutputSpeed | None = None
    model: str | None = None
    previous_model: str | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    cost: float | None = None
    budget: BudgetState | None = None
    trace_id: str | None = None
    certificate_expiry: float | None = None
    replica: str = ""
    behind_schedule: bool = False

    @property
    def answer_duration(self) -> float:
        """Seconds from the start of the run to the end of its answer.

        A run can take longer: after a ``finish_reason`` it waits until the server closes the stream.
        """
        if not self.attempts:
            return self.duration
        last = self.attempts[-1]
        return max(0.0, min(self.duration, last.started + last.duration - self.started))

    @property
    def rate_limits(self) -> RateLimits | None:
        """The rate limits that the primary route reported last; ``None`` if it reported none."""
        return next((each.rate_limits for each in self._primary_attempts_from_last if each.rate_limits), None)

    @property
    def retirement(self) -> Retirement | None:
        """What the primary route announced last about its end; ``None`` if nothing."""
        return next((each.retirement for each in self._primary_attempts_from_last if each.retirement), None)

    @property
    def _primary_attempts_from_last(self) -> list[Attempt]:
        """The attempts on the route of the first attempt, which is the primary, the last one first."""
        return [each for each in reversed(self.attempts) if each.route == self.attempts[0].route]

    lag: float = 0.0
