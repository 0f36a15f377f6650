"""Numbers, times and provider text as the page writes them. All functions are pure."""

import math
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from streamcanary.model import fault_words as words_of_faults
from streamcanary.model.faults import FAULT_PROPERTIES, FaultKind
from streamcanary.model.redaction.redactor import scrub

UNKNOWN: Final = "\u2013"
"""A dash in place of a value that is not known."""

MAX_TEXT: Final = 300
"""Characters of provider text in one place."""

STATE_WORDS: Final = {
    "ok": "ok",
    "slow": "slow",
    "degraded": "degraded",
    "failing": "failing",
    "unknown": "no data",
}
"""The word for each state of a canary, which its colour repeats."""

OUTCOME_STATES: Final = {"ok": "ok", "slow": "slow", "failed_over": "degraded", "failed": "failing"}
"""The state that an outcome of a run is shown as; all others are shown as unknown."""

OUTCOME_WORDS: Final = {
    "ok": "ok",
    "slow": "slow",
    "failed_over": "fallback answered",
    "failed": "failed",
    "skipped": "skipped",
    "internal_error": "internal error",
}


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Return untrusted ``text`` in one line, without control characters and direction overrides."""
    return scrub(text[: 8 * limit], limit=limit)


def clean_lines(text: str, limit: int = 4000) -> str:
    """Return untrusted ``text`` with its line breaks, without control characters and direction overrides."""
    return scrub(text[: 2 * limit], limit=limit, lines=True)


def sentence(text: str) -> str:
    """Return ``text`` with a capital at the beginning and a full stop at the end."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '…')) else '.'}"


def seconds(value: float | None) -> str:
    """Return a measured duration: ``380 ms``, ``1.24 s``, ``12.4 s``, ``2 min 5 s``."""
    if value is None or not math.isfinite(value) or value < 0:
        return UNKNOWN
    if value < 0.9995:
        return f"{value * 1000:.0f} ms" if value >= 0.00995 or not value else f"{value * 1000:.1f} ms"
    if value < 9.995:
        return f"{value:.2f} s"
    return f"{value:.1f} s" if value < 99.95 else age(value)


def round_seconds(value: float) -> str:
    """Return a round time on an axis: ``250 ms``, ``2.5 s``, ``2 min``; ``0``."""
    if not value:
        return "0"
    if value < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.4g} s" if value < 120 else f"{value / 60:.3g} min"


def age(value: float | None) -> str:
    """Return a time that passed, in at most two units: ``12 s``, ``6 min``, ``2 h 5 min``, ``3 d 4 h``."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    whole = int(max(0.0, value))
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours and days < 10 else f"{days} d"


def percent(part: float | None) -> str:
    """Return a rate: ``0 %``, ``0.3 %``, ``41 %``; one that is above zero never reads as zero."""
    if part is None or not math.isfinite(part):
        return UNKNOWN
    value = 100 * part
    if 0 < value < 0.1:
        return "<0.1 %"
    text = f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
    return f"{text.removesuffix('.0')} %"


def availability(part: float | None) -> str:
    """Return an availability, rounded down: ``99.95 %``; only one without a failure reads ``100 %``."""
    if part is None or not math.isfinite(part):
        return UNKNOWN
    if part >= 1:
        return "100 %"
    return f"{math.floor(part * 10_000 + 1e-6) / 100:.2f} %"


def count(number: int) -> str:
    """Return a number with commas between thousands."""
    return f"{number:,}"


def plural(number: int, one: str, many: str = "") -> str:
    """Return ``1 canary``, ``2 canaries``."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def iso(moment: float) -> str:
    """Return seconds since the epoch for the attribute ``datetime``."""
    return _utc(moment).isoformat(timespec="seconds").replace("+00:00", "Z")


def clock(moment: float, now: float) -> str:
    """Return a time of the day in UTC, with its date if it is not within 20 hours of ``now``."""
    pattern = "%H:%M" if abs(now - moment) < 20 * 3600 else "%Y-%m-%d %H:%M"
    return _utc(moment).strftime(pattern)


def clock_seconds(moment: float) -> str:
    """Return date and time in UTC to the second."""
    return _utc(moment).strftime("%Y-%m-%d %H:%M:%S")


def day(moment: float) -> str:
    """Return a date in UTC, such as ``Fri 15 Jan``."""
    return _utc(moment).strftime("%a %-d %b")


def fault_words(kind: str | None) -> str:
    """Return a kind of fault, or another reason, in words: ``first token timeout``."""
    return words_of_faults.fault_words(clean(kind or "", 60))


def mender(kind: str) -> str:
    """Return who can fix a fault of this kind, empty if it is not known."""
    try:
        return words_of_faults.FIXERS[FAULT_PROPERTIES[FaultKind(kind)].blame]
    except ValueError:
        return ""


def path_part(name: str) -> str:
    """Return ``name`` as one part of the path of an address."""
    return quote(name, safe="")


def _utc(moment: float) -> datetime:
    try:
        return datetime.fromtimestamp(moment, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC)
