"""What the other rooms know of a canary: who it is and how often it runs, not what it asks."""

from msgspec import Struct, field


class Canary(Struct, frozen=True, kw_only=True):
    """The identity of a canary.

    ``interval`` is the time between two runs in seconds. ``labels`` are the user's own.
    """

    name: str
    target: str
    provider: str
    interval: float
    labels: dict[str, str] = field(default_factory=dict)

    def label_set(self) -> dict[str, str]:
        """Return all that a matcher can match: the own labels, and ``canary``, ``target`` and ``provider``."""
        return {**self.labels, "canary": self.name, "target": self.target, "provider": self.provider}
