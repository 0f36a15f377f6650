"""Schedules: at a fixed interval, or by a cron expression. Times are seconds since the epoch."""

from msgspec import Struct

from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.schedules.cron import Cron


class Every(Struct, frozen=True):
    """A run every ``seconds``.

    The phase of a canary depends on the instance and is unknown here; so only runs that happen with any phase are
    counted.
    """

    seconds: float

    def __str__(self) -> str:
        return format_duration(self.seconds)

    @property
    def interval(self) -> float:
        """The seconds from one run to the next."""
        return self.seconds

    @property
    def min_interval(self) -> float:
        """The minimum seconds from one run to the next."""
        return self.seconds

    @property
    def median_interval(self) -> float:
        """The median seconds from one run to the next."""
        return self.seconds

    def max_runs(self, seconds: float) -> int:
        """Return how many runs a window of ``seconds`` has with any phase."""
        return int(seconds // self.seconds)

    def mean_wait(self, number: float) -> float:
        """Return the mean seconds from any moment until the ``number``-th run after it."""
        return (number - 0.5) * self.seconds

    def expected_runs(self, after: float, until: float) -> int:
        """Return the number of runs due later than ``after`` and not later than ``until``, with any phase."""
        return max(0, int((until - after + 1e-6) // self.seconds))

    def nth_run_after(self, moment: float, number: int) -> float:
        """Return the latest time at which the ``number``-th run after ``moment`` is due."""
        return moment + number * self.seconds


class Pooled(Struct, frozen=True):
    """The runs of ``sources`` canaries together: on average one every ``seconds``, with independent phases."""

    seconds: float
    sources: int

    def __str__(self) -> str:
        return format_duration(self.seconds)

    @property
    def interval(self) -> float:
        """The mean seconds from one run to the next."""
        return self.seconds

    @property
    def median_interval(self) -> float:
        """The seconds from one run to the next, as windows count them: the mean."""
        return self.seconds

    def max_runs(self, seconds: float) -> int:
        """Return how many runs a window of ``seconds`` has on average."""
        return int(seconds // self.seconds)

    def mean_wait(self, number: float) -> float:
        """Return the mean seconds from any moment until the ``number``-th run after it.

        Exact for sources of the same interval: within an interval their runs are at independent, uniform times.
        """
        whole, part = divmod(number, 1)
        return self._wait(int(whole)) * (1 - part) + (self._wait(int(whole) + 1) * part if part else 0.0)

    def _wait(self, number: int) -> float:
        rounds, rest = divmod(number - 1, self.sources)
        return self.seconds * self.sources * (rounds + (rest + 1) / (self.sources + 1)) if number else 0.0


Schedule = Every | Cron
"""When a canary is due. Callers use only the members that both types have."""

SampleSchedule = Schedule | Pooled
"""When samples of one canary, or of several, are due."""
