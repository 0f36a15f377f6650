"""Schedules: at a fixed interval, or by a cron expression. Times are seconds since the epoch."""

from msgspec import Struct

from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.cron import Cron


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


Schedule = Every | Cron
"""When a canary is due. Callers use only the members that both types have."""
