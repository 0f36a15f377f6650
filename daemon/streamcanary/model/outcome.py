"""What became of one attempt, and of one run of a canary."""

from enum import StrEnum

from msgspec import Struct

from streamcanary.model.faults import Fault


class OutcomeKind(StrEnum):
    """The one thing that a run ends as. *Primary* is the canary's own route, its retries included."""

    OK = "ok"
    """The primary answered whole, as expected, within its ``slo``."""
    SLOW = "slow"
    """The same, over its ``slo``."""
    FAILED_OVER = "failed_over"
    """The primary failed, a fallback answered."""
    FAILED = "failed"
    """Nothing answered, or not as expected."""
    INTERNAL_ERROR = "internal_error"
    """The probe itself broke: says nothing about the target."""
    SKIPPED = "skipped"
    """Not run; ``reason`` says why: budget, overlap, standby, shutdown."""


class BudgetState(StrEnum):
    """How the canaries' budget stood when a run was due. What was *exhausted* or *slowed* was skipped."""

    WITHIN = "within"
    """There was money for it, and it was run."""
    EXEMPT = "exempt"
    """It costs nothing, and was run, however much of the USD is left."""
    SLOWED = "slowed"
    """It was not its turn: so that the budget lasts, each canary is asked every so many turns."""
    EXHAUSTED = "exhausted"
    """The USD of the day are spent; nothing that costs money runs until the next day."""


class Attempt(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request within a call.

    ``started`` is wall time (seconds since the epoch), ``duration`` and the others are seconds;
    ``delay`` is how long the client waited before this attempt. ``fault`` is ``None`` if it answered whole.
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


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens that a call used, as the provider counts them."""

    input_tokens: int = 0
    output_tokens: int = 0


class Outcome(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one run. Immutable: whoever needs it gets it handed over.

    Times are seconds: ``scheduled`` and ``started`` since the epoch, the others durations.
    ``fault`` is what kept the primary from answering well: set for ``failed`` and ``failed_over``.
    ``cost`` is what its attempts cost in USD, estimated where the provider did not tell the tokens; ``None`` if nothing
    was sent or no price is known. ``budget`` is set for what is skipped because of a budget, and under
    ``usd_per_day`` for each run.
    ``trace_id`` is 32 hex digits, if the run was traced.
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
    model: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    cost: float | None = None
    budget: BudgetState | None = None
    trace_id: str | None = None
