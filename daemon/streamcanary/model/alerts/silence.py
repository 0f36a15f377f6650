"""A silence: mutes matching alerts for a period of time."""

from collections.abc import Mapping
from functools import cached_property

from msgspec import Struct

from streamcanary.model.alerts.matcher import Matcher, all_match


class Silence(Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """Mutes the alerts that all matchers of ``match`` match, from ``starts`` to ``until``.

    ``match`` are matchers in Alertmanager's syntax, at least one. Times are seconds since the epoch. ``by`` is the
    author, ``why`` the reason. A silence does not mute a resolve: a receiver that was notified of an alert still gets
    it.
    """

    id: str
    match: tuple[str, ...]
    starts: float
    until: float
    by: str = ""
    why: str = ""

    def __post_init__(self) -> None:
        """Reject a silence without matchers or with invalid ones, such as a row that was edited by hand.

        Raises:
            ValueError: if there is no matcher, or one is not valid.
        """
        if not self.match:
            raise ValueError("a silence needs at least one matcher")
        for text in self.match:
            Matcher.parse(text)

    @cached_property
    def _matchers(self) -> tuple[Matcher, ...]:
        return tuple(Matcher.parse(text) for text in self.match)

    def is_active(self, now: float) -> bool:
        """Return whether the silence is active at ``now`` (seconds since the epoch)."""
        return self.starts <= now < self.until

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether the silence matches an alert with ``labels``."""
        return all_match(self._matchers, labels)
