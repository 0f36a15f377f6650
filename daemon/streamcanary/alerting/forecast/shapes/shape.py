"""Shapes of an outage: the error rate over time, and which canaries it hits."""

import re
from collections.abc import Sequence
from random import Random
from typing import Final, NamedTuple

from streamcanary.alerting.scope import value_in_scope
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.duration import format_duration, parse_positive_duration
from streamcanary.model.config_types.fraction import format_fraction, parse_fraction

HORIZON: Final = 4 * 3600.0
"""How long the simulation of a shape lasts at most, in seconds."""

MAX_TEXT: Final = 80
"""The longest text of a shape, in characters."""

EXAMPLES: Final = "'50% on all', '10m of 100%', '60s of 100% every 5m', '2% to 60% in 30m', or '15% on half'"

_RAMP = re.compile(r"(\S+) to (\S+) in (\S+)")
_BURST = re.compile(r"(\S+) of (\S+)(?: every (\S+))?")
_ONE_OF = re.compile(r"one of (\d{1,6})")
_ONE_SCOPE = re.compile(r"one ([a-zA-Z_][a-zA-Z0-9_]*)")
_WHICH = "write all, half, 25%, one, one of 8, or one of a scope, such as one model, one target or one LABEL"


class Shape(NamedTuple):
    """An outage that begins at 0 s: an error rate over time, and the canaries that it hits.

    The rate is ``rate``; with ``ramp`` it rises or falls from ``first_rate`` to that within so many seconds. With
    ``burst`` it lasts so many seconds, and begins again each ``period`` seconds, if there is a period. It hits the part
    ``share`` of the canaries, at least one; with ``scope``, those of one value of it: a target, a provider, a model or
    a label. ``text`` is how it was written.
    """

    text: str
    rate: float
    first_rate: float | None = None
    ramp: float = 0.0
    burst: float | None = None
    period: float | None = None
    share: float = 1.0
    scope: str = ""

    def rate_at(self, seconds: float) -> float:
        """Return the error rate so many ``seconds`` after the beginning; 0 between bursts."""
        if self.burst is not None:
            since = seconds if self.period is None else seconds % self.period
            return self.rate if since < self.burst else 0.0
        if self.first_rate is None or seconds >= self.ramp:
            return self.rate
        return self.first_rate + (self.rate - self.first_rate) * seconds / self.ramp

    def hit_canaries(self, canaries: Sequence[Canary], random: Random) -> set[str]:
        """Return the names of the ``canaries`` that it hits, drawn at ``random``; empty if none has the scope."""
        if not self.scope:
            count = max(1, int(self.share * len(canaries) + 1e-9))
            return {canary.name for canary in random.sample(list(canaries), min(count, len(canaries)))}
        names: dict[str, set[str]] = {}
        for canary in canaries:
            if value := value_in_scope(canary, self.scope):
                names.setdefault(value, set()).add(canary.name)
        return random.choice(list(names.values())) if names else set()


def parse_shape(text: str) -> Shape:
    """Return the shape that is written as ``text``, such as ``60s of 100% every 5m`` or ``15% on half``.

    Raises:
        ValueError: if it is none; the message says what would be right.
    """
    written = " ".join(text.split())
    if len(written) > MAX_TEXT:
        raise ValueError(f"is longer than {MAX_TEXT} characters; write a shape such as {EXAMPLES}")
    lower = written.lower()
    profile, has_which, which = lower.partition(" on ")
    share, scope = _parse_which(which if has_which else "all", written)
    shape = _parse_profile(profile)
    return shape._replace(text=written, share=share, scope=scope)


def _parse_profile(text: str) -> Shape:
    if found := _RAMP.fullmatch(text):
        first, last = _rate(found[1]), _rate(found[2])
        if first == last:
            raise ValueError(f"does not change from {format_fraction(first)}; write two rates, or only one: {found[1]}")
        return Shape("", last, first_rate=first, ramp=_seconds(found[3]))
    if found := _BURST.fullmatch(text):
        if found[1].endswith("%") and not found[2].endswith("%"):
            raise ValueError(f"has the rate before the time; write {found[2]} of {found[1]}")
        burst, rate = _seconds(found[1]), _rate(found[2])
        if found[3] is None:
            return Shape("", rate, burst=burst)
        period = _seconds(found[3])
        if period <= burst:
            raise ValueError(
                f"{format_duration(burst)} every {format_duration(period)} never ends; write a longer time after "
                f"every, or only the rate: {found[2]}"
            )
        return Shape("", rate, burst=burst, period=period)
    if re.fullmatch(r"\S+", text) and re.match(r"[\d.]", text):
        return Shape("", _rate(text))
    raise ValueError(f"is not a shape; write one such as {EXAMPLES}")


def _parse_which(text: str, written: str) -> tuple[float, str]:
    """Return the share of the canaries, and the scope, that ``text`` says; ``written`` has its case."""
    match text:
        case "all":
            return 1.0, ""
        case "half":
            return 0.5, ""
        case "one":
            return 0.0, ""
    if found := _ONE_OF.fullmatch(text):
        if number := int(found[1]):
            return 1 / number, ""
        raise ValueError(f"hits one of no canaries; {_WHICH}")
    if found := _ONE_SCOPE.fullmatch(text):
        return 1.0, written[-len(found[1]) :]
    if text[:1].isdigit() and " " not in text:
        return _share(text), ""
    raise ValueError(f"hits {text!r}, which is unknown; {_WHICH}")


def _rate(text: str) -> float:
    if text in ("0", "0%"):
        raise ValueError("has an error rate of 0%: it is no outage; write a rate over it")
    try:
        return parse_fraction(text)
    except ValueError as error:
        raise ValueError(f"has the error rate {text!r}, which {_as_clause(error)}") from None


def _share(text: str) -> float:
    try:
        return parse_fraction(text)
    except ValueError as error:
        raise ValueError(f"hits the share {text!r}, which {_as_clause(error)}") from None


def _seconds(text: str) -> float:
    try:
        seconds = parse_positive_duration(text)
    except ValueError as error:
        raise ValueError(f"has the time {text!r}, which {_as_clause(error)}") from None
    if seconds > HORIZON:
        raise ValueError(f"has the time {text}; a simulation lasts {format_duration(HORIZON)}: write a shorter one")
    return seconds


def _as_clause(error: ValueError) -> str:
    """Return the message of ``error`` as the end of a sentence that begins with *which*."""
    message = str(error).removeprefix("a duration ")
    return f"is {message}" if message.startswith("not ") else message


STANDARD_SHAPES: Final = tuple(
    parse_shape(text)
    for text in (
        "50% on all",
        "20% on all",
        "10% on all",
        "60s of 100% every 5m",
        "2% to 60% in 30m",
        "15% on half",
        "50% on one",
        "100% on one model",
    )
)
"""The shapes that detectors are compared with: outages of a provider, short and slow ones, and those of a part."""
