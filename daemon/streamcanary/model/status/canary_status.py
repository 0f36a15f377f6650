"""The status of a canary: its state, its last runs, and how it did in the last hours and days."""

from enum import StrEnum

from msgspec import Struct

MAX_RECENT_RUNS = 60
"""The last runs of a canary in its status, at most; with many canaries fewer."""

HOURS = 24
"""The hours in the series of a canary."""


class CanaryState(StrEnum):
    """The state of a canary: the outcome of its last run that says something about the target."""

    OK = "ok"
    """The primary answered within its ``slo``."""
    SLOW = "slow"
    """The primary answered, over its ``slo``."""
    DEGRADED = "degraded"
    """The primary failed, and a fallback answered."""
    FAILING = "failing"
    """Nothing answered as expected."""
    UNKNOWN = "unknown"
    """There was no run yet, or no run for three intervals: the budget is exhausted, or the daemon was not running."""


class RecentRun(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A finished run in one line.

    ``started`` is seconds since the epoch; ``duration`` and ``first_token`` are seconds. ``outcome`` is a value of
    :class:`~streamcanary.model.outcome.OutcomeKind`. ``fault`` is the kind of the primary's fault, or the reason of a
    skipped run. ``attempts`` includes those on fallbacks.
    """

    run_id: str
    started: float
    outcome: str
    duration: float = 0.0
    attempts: int = 0
    first_token: float | None = None
    fault: str | None = None


class Percentiles(Struct, frozen=True, kw_only=True, gc=False):
    """Percentiles of a measure, in its unit (seconds, tokens a second), estimated within 2 %."""

    p50: float
    p95: float
    p99: float


class PeriodStatistics(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The runs of a canary in a period of ``length`` seconds from ``started`` (seconds since the epoch).

    ``runs`` counts those that say something about the target: not the skipped ones, nor internal errors.
    ``failed`` are those that the primary did not answer as expected, after its retries; of these a fallback answered
    ``failed_over``. ``first_attempt_failed`` are those whose first attempt failed, which is before retries. ``slow``
    were answered over the ``slo``.
    """

    started: float
    length: float
    runs: int = 0
    failed: int = 0
    failed_over: int = 0
    first_attempt_failed: int = 0
    slow: int = 0
    first_token: Percentiles | None = None
    duration: Percentiles | None = None

    @property
    def availability(self) -> float | None:
        """The part of the runs that the primary answered as expected, from 0 to 1; ``None`` without runs."""
        return None if not self.runs else 1 - self.failed / self.runs

    @property
    def error_rate(self) -> float | None:
        """The part of the runs that failed after retries; ``None`` without runs."""
        return None if not self.runs else self.failed / self.runs

    @property
    def first_attempt_error_rate(self) -> float | None:
        """The part of the runs that fail without retries; ``None`` without runs.

        It is at least that after retries: a complete answer that is not as expected fails the run, not its attempt.
        """
        return None if not self.runs else max(self.first_attempt_failed, self.failed) / self.runs


class CanaryStatus(Struct, frozen=True, kw_only=True):
    """The status of one canary: a row of the overview.

    ``interval`` is the mean time between two runs in seconds. ``since`` is the start of the first run of the current
    state, ``next_run`` when the next one is due, and ``known_since`` the start of the oldest recorded run; all in
    seconds since the epoch, ``None`` if unknown. ``recent_runs`` are the last ones, the oldest first. ``hour`` is the
    last hour, ``hours`` are the last 24 full hours of the clock, the oldest first, without those that have no runs;
    ``day``, ``week`` and ``month`` are the last 1, 7 and 30 days. ``headroom`` is the part of each quota that is left
    (``requests``, ``tokens``), from 0 to 1. ``alerts`` are the names of the alerts that fire about it, also pooled ones
    that list it as failing. ``fault`` and ``message`` are of the last failed run of the current state.
    """

    name: str
    target: str
    provider: str
    model: str
    labels: dict[str, str]
    interval: float
    state: CanaryState
    since: float | None = None
    next_run: float | None = None
    known_since: float | None = None
    fault: str | None = None
    message: str = ""
    recent_runs: tuple[RecentRun, ...] = ()
    hour: PeriodStatistics | None = None
    hours: tuple[PeriodStatistics, ...] = ()
    day: PeriodStatistics | None = None
    week: PeriodStatistics | None = None
    month: PeriodStatistics | None = None
    headroom: dict[str, float] = {}
    alerts: tuple[str, ...] = ()


class FaultCount(Struct, frozen=True, kw_only=True):
    """How often a canary failed with one kind of fault in the last 7 days.

    ``last`` is seconds since the epoch.
    """

    kind: str
    blame: str
    count: int
    last: float | None = None


class RuleStatus(Struct, frozen=True, kw_only=True):
    """How far an alert rule is from firing for one canary, or for the canaries that are pooled with it.

    ``subject`` is what the rule evaluates: the canary, or ``target openai`` with pooled evidence. ``detector`` is the
    configured detector in words. ``progress`` is the detector's state as a part of what makes it fire, from 0 to 1; it
    is 1 while it fires, and while ``resolving`` it is what is left until it resolves. ``text`` says the same in words,
    such as ``9 of 17``. ``forecast`` is what ``check`` prints: the expected delay of detection by error rate.
    """

    rule: str
    subject: str
    detector: str
    progress: float
    text: str
    is_firing: bool = False
    resolve_condition: str = ""
    forecast: str = ""


class CanaryDetail(Struct, frozen=True, kw_only=True):
    """Everything that the page of one canary shows besides its runs."""

    status: CanaryStatus
    faults: tuple[FaultCount, ...] = ()
    rules: tuple[RuleStatus, ...] = ()
