"""A silence: alerts that nobody wants to be told of for a while."""

from collections.abc import Mapping
from functools import cached_property

from msgspec import Struct

from streamcanary.model.alerts.matcher import Matcher, all_match


class Silence(Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """Alerts whose labels all of ``match`` match are not told of from ``starts`` to ``until``.

    ``match`` are matchers in Alertmanager's syntax, at least one. Times are seconds since the epoch. ``by`` says who
    made it, ``why`` for what reason. It mutes news only: who was told that an alert fires is told that it is over.
    """

    id: str
    match: tuple[str, ...]
    starts: float
    until: float
    by: str = ""
    why: str = ""

    def __post_init__(self) -> None:
        """Refuse what would mute everything, or nothing for ever: a row that was written by a hand, mostly."""
        if not self.match:
            raise ValueError("a silence needs a matcher at least")
        for text in self.match:
            Matcher.parse(text)

    @cached_property
    def _matchers(self) -> tuple[Matcher, ...]:
        return tuple(Matcher.parse(text) for text in self.match)

    def is_active(self, now: float) -> bool:
        """Tell whether it is in force at ``now`` (seconds since the epoch)."""
        return self.starts <= now < self.until

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether it is about an alert with ``labels``."""
        return all_match(self._matchers, labels)
