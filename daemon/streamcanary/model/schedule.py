"""When something is due: every so many seconds, or by a cron expression. Times are seconds since the epoch."""

from msgspec import Struct

from streamcanary.model.config_types.duration import format_duration
from streamcanary.model.cron import Cron


class Every(Struct, frozen=True):
    """A run every so many ``seconds``.

    A canary's own phase on this grid depends on the instance, and is no matter here: of a stretch of time only the
    runs that are certain are counted, whatever the phase.
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
        """The least seconds from one run to the next."""
        return self.seconds

    @property
    def median_interval(self) -> float:
        """The usual seconds from one run to the next."""
        return self.seconds

    def max_runs(self, seconds: float) -> int:
        """Return how many runs a window of so many ``seconds`` holds at most, whatever the phase."""
        return int(seconds // self.seconds)

    def mean_wait(self, number: float) -> float:
        """Return the mean seconds from any moment until the ``number``-th run after it."""
        return (number - 0.5) * self.seconds

    def expected_runs(self, after: float, until: float) -> int:
        """Return how many runs are due later than ``after`` and not later than ``until``."""
        return max(0, int((until - after + 1e-6) // self.seconds))

    def nth_run_after(self, moment: float, number: int) -> float:
        """Return when the ``number``-th run after ``moment`` is due at the latest."""
        return moment + number * self.seconds


Schedule = Every | Cron
"""When a canary is due. What the two have in common is what others ask."""
