"""The identity and schedule of a canary, without its request."""

from collections.abc import Iterable

from msgspec import Struct, field

from streamcanary.model.schedules.cron import Cron
from streamcanary.model.schedules.schedule import Every, Schedule


class Canary(Struct, frozen=True, kw_only=True):
    """The identity of a canary.

    ``interval`` is the time between two runs in seconds, their mean with ``cron``; ``timeout`` is the maximum duration
    of a run in seconds. ``host`` is the host that it connects to, ``model`` the model that it requests; both are
    empty if they are not known. ``labels`` are set by the user. ``renamed_from`` is its previous name.
    ``request_digest`` is a hash of what it asks of whom: what was learned about another request says nothing about
    this one. ``members`` is the number of daemons that run it, each at ``interval``: those of a fleet.
    """

    name: str
    target: str
    provider: str
    interval: float
    timeout: float = 60.0
    host: str = ""
    model: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    renamed_from: str | None = None
    cron: Cron | None = None
    request_digest: str = ""
    members: int = 1

    @property
    def schedule(self) -> Schedule:
        """When it is due: by its cron expression, or at each interval."""
        return self.cron or Every(self.interval)

    @property
    def identity(self) -> str:
        """The name in the keys of its alerts; it does not change when the canary is renamed."""
        return self.renamed_from or self.name

    def nth_run_after(self, moment: float, number: int) -> float:
        """Return when the ``number``-th run after ``moment`` is due (seconds since the epoch)."""
        return self.schedule.nth_run_after(moment, number)

    def label_set(self) -> dict[str, str]:
        """Return all labels that a matcher can use: those of the user, and ``canary``, ``target`` and ``provider``."""
        return {**self.labels, "canary": self.name, "target": self.target, "provider": self.provider}


def recorded_names(canaries: Iterable[Canary]) -> dict[str, Canary]:
    """Return the canary of each name under which runs are recorded: its own, and its former one if no other has it."""
    known = {canary.name: canary for canary in canaries}
    former = {canary.identity: canary for canary in known.values() if canary.identity not in known}
    return {**former, **known}
