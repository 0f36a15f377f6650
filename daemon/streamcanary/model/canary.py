"""What the other rooms know of a canary: who it is and how often it runs, not what it asks."""

from msgspec import Struct, field

from streamcanary.model.cron import Cron
from streamcanary.model.schedule import Every, Schedule


class Canary(Struct, frozen=True, kw_only=True):
    """The identity of a canary.

    ``interval`` is the time between two runs in seconds, their mean if it runs by ``cron``; ``timeout`` is what a run
    may take at most. ``host`` is whom it connects to. ``labels`` are the user's own. ``renamed_from`` is the name that
    it had before.
    """

    name: str
    target: str
    provider: str
    interval: float
    timeout: float = 60.0
    host: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    renamed_from: str | None = None
    cron: Cron | None = None

    @property
    def schedule(self) -> Schedule:
        """When it is due: by its cron expression, or each interval."""
        return self.cron or Every(self.interval)

    @property
    def identity(self) -> str:
        """The name that its alerts are known by: it outlives a renaming."""
        return self.renamed_from or self.name

    def nth_run_after(self, moment: float, number: int) -> float:
        """Return when the ``number``-th run after ``moment`` is due (seconds since the epoch)."""
        return self.schedule.nth_run_after(moment, number)

    def label_set(self) -> dict[str, str]:
        """Return all that a matcher can match: the own labels, and ``canary``, ``target`` and ``provider``."""
        return {**self.labels, "canary": self.name, "target": self.target, "provider": self.provider}
