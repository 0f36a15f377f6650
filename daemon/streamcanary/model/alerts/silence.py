"""A silence: mutes matching alerts for a period of time."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Final

from msgspec import Struct

from streamcanary.model.alerts.matcher import Matcher, all_match

MAX_SILENCES: Final = 1000
"""The number of silences that may exist at once."""

MAX_EXPRESSION_SIZE: Final = 10_000
"""The size of the regular expressions of all silences together: it bounds the work for a new alert to about 3 ms."""

_COST_PER_EXPRESSION = 10


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

    @property
    def expression_size(self) -> int:
        """The cost of its regular expressions: instructions of their programs, and a fixed cost for each of them."""
        expressions = (matcher.expression for matcher in self._matchers)
        return sum(one.program_size + _COST_PER_EXPRESSION for one in expressions if one is not None)

    def is_active(self, now: float) -> bool:
        """Return whether the silence is active at ``now`` (seconds since the epoch)."""
        return self.starts <= now < self.until

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether the silence matches an alert with ``labels``."""
        return all_match(self._matchers, labels)


def check_silence_limits(silences: Iterable[Silence], new: Silence) -> None:
    """Reject ``new`` if there would be too many silences, or too large ones, beside the existing ``silences``.

    Raises:
        ValueError: if a limit would be exceeded.
    """
    others = [silence for silence in silences if silence.id != new.id]
    if len(others) >= MAX_SILENCES:
        raise ValueError(f"there are {MAX_SILENCES} silences; end some of them")
    if sum(silence.expression_size for silence in (*others, new)) > MAX_EXPRESSION_SIZE:
        raise ValueError("the regular expressions of all silences are too large together; end some, or write names")
