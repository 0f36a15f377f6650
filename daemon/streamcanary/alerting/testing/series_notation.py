"""Runs by the word: the ``values`` of a series in a test of rules, such as ``ok x10 stalled x3 ok _ x2``.

    ok, slow               an answer; what was measured is 0 unless it is given: slow(first_token=3s, max_gap=2s)
    stalled, rate_limited  failed with that fault; also written failed:stalled or failed(stalled)
    failed_over:stalled    the primary failed so, a fallback answered
    retried:stalled        ok, after a first attempt that failed so
    internal_error         the probe itself broke
    skipped:budget         not run: budget, overlap, standby or shutdown
    _                      no run at all

Each may be followed by ``xN`` (``ok x10`` or ``okx10``): so often in all. In promtool's ``1x10`` it is once more.
"""

import difflib
import re
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from streamcanary.model.canary import Canary
from streamcanary.model.config_types.duration import parse_duration
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, BudgetStanding, Outcome, OutcomeKind

MOST_RUNS: Final = 10_000
"""How many runs one series may have."""

_LONGEST = 100_000  # characters
_WORD = re.compile(r"(?P<name>_|[a-z][a-z_]*?)(?::(?P<detail>[a-z_]+?)|\((?P<inner>[^()]*)\))?(?:x(?P<often>\d+))?")
_REPEAT = re.compile(r"x(\d+)")
_TOKEN = re.compile(r"[^\s(]+\([^()]*\)\S*|\S+")
_LONGEST_TOKEN = 200
_TIMES = {"first_token": "time_to_first_token", "max_gap": "max_gap", "duration": "duration"}
_REASONS = ("budget", "overlap", "standby", "shutdown")
_WITH_FAULT = ("failed", "failed_over", "retried")
_FAULTS = {kind.value: kind for kind in FaultKind}
_STANDING: Final = {"budget": BudgetStanding.EXHAUSTED}
_WORDS = ("ok", "slow", "internal_error", "skipped", *_WITH_FAULT, *_FAULTS)


class Word(Struct, frozen=True, kw_only=True):
    """What became of one run. ``retried`` tells that only the first attempt had the ``fault``. Times are seconds."""

    kind: OutcomeKind
    fault: FaultKind | None = None
    reason: str | None = None
    budget: BudgetStanding | None = None
    retried: bool = False
    time_to_first_token: float = 0.0
    max_gap: float = 0.0
    duration: float = 0.0

    def outcome(self, canary: Canary, number: int, at: float) -> Outcome:
        """Return the outcome of run ``number`` of ``canary``, started ``at`` (seconds since the epoch)."""
        fault = make_fault(self.fault, Phase.STREAM, self.fault.value) if self.fault else None
        answered = self.kind in (OutcomeKind.OK, OutcomeKind.SLOW, OutcomeKind.FAILED_OVER)
        asked = answered or self.kind is OutcomeKind.FAILED
        faults = [fault] if fault else []
        last = [None] if answered else []
        attempts = tuple(
            Attempt(number=index, route="primary", started=at, duration=0.0, fault=wrong)
            for index, wrong in enumerate([*faults, *last] if asked else [], 1)
        )
        return Outcome(
            run_id=f"{canary.name}-{number}",
            canary=canary.name,
            target=canary.target,
            provider=canary.provider,
            kind=self.kind,
            scheduled=at,
            started=at,
            duration=self.duration,
            fault=None if self.retried else fault,
            reason=self.reason,
            budget=self.budget,
            attempts=attempts,
            time_to_first_token=self.time_to_first_token if answered else None,
            max_gap=self.max_gap if answered else None,
        )


def parse_values(text: object) -> tuple[Word | None, ...]:
    """Return the runs that ``text`` spells, ``None`` for one that did not happen.

    Raises:
        ValueError: if a word is none of those above, or there are more than :data:`MOST_RUNS`; says which one.
    """
    if not isinstance(text, str):
        raise ValueError("must be text, such as 'ok x10 stalled x3 _ ok'")
    if len(text) > _LONGEST:
        raise ValueError(f"is longer than {_LONGEST} characters")
    words: list[Word | None] = []
    before: Word | None = None
    repeatable = False
    for token in _TOKEN.findall(text):
        if repeat := _REPEAT.fullmatch(token):
            if not repeatable:
                raise ValueError(f"{token!r} follows nothing that it could repeat")
            words += [before] * (_count(repeat[1]) - 1)
            repeatable = False
        else:
            before, often = _parse_word(token)
            words += [before] * (often or 1)
            repeatable = often is None
        if len(words) > MOST_RUNS:
            raise ValueError(f"has more than {MOST_RUNS} runs")
    return tuple(words)


def _parse_word(token: str) -> tuple[Word | None, int | None]:
    """Return the run that ``token`` spells, and how often, if it says so."""
    shown = token if len(token) <= 40 else f"{token[:40]}…"
    found = _WORD.fullmatch(token) if len(token) <= _LONGEST_TOKEN else None
    if found is None:
        raise ValueError(
            f"{shown!r} is no run: write a word such as ok, stalled, failed_over:stalled, skipped:budget or _"
        )
    often = _count(found["often"]) if found["often"] else None
    name, detail, times = found["name"], found["detail"], {}
    if name == "_" and not (detail or found["inner"]):
        return None, often
    if name not in _WORDS:
        near = difflib.get_close_matches(name, _WORDS, n=1)
        known = f"did you mean {near[0]}?" if near else f"known: {', '.join(_WORDS)}"
        raise ValueError(f"there is no outcome or fault {name[:40]!r}; {known}")
    if found["inner"] is not None:
        if "=" in found["inner"]:
            times = _parse_times(found["inner"], shown)
        else:
            detail = found["inner"].strip()
    return _make(name, detail or None, times, shown), often


def _make(name: str, detail: str | None, times: dict[str, float], shown: str) -> Word:
    if name in _WITH_FAULT:
        fault = _fault(name, detail)
        if name == "retried":
            return replace(Word(kind=OutcomeKind.OK, fault=fault, retried=True), **times)
        return replace(Word(kind=OutcomeKind(name), fault=fault), **times)
    if name == "skipped":
        if detail not in _REASONS or times:
            raise ValueError(f"{shown!r}: write why it was skipped: {', '.join(f'skipped:{one}' for one in _REASONS)}")
        return Word(kind=OutcomeKind.SKIPPED, reason=detail, budget=_STANDING.get(detail))
    if detail:
        raise ValueError(f"{shown!r}: {detail!r} means nothing after {name}; write {name} alone")
    if name in _FAULTS:
        return replace(Word(kind=OutcomeKind.FAILED, fault=_FAULTS[name]), **times)
    return replace(Word(kind=OutcomeKind(name)), **times)


def _fault(name: str, detail: str | None) -> FaultKind:
    if detail in _FAULTS:
        return _FAULTS[detail]
    raise ValueError(f"{name} needs a fault, such as {name}:stalled; known: {', '.join(_FAULTS)}")


def _parse_times(text: str, shown: str) -> dict[str, float]:
    times = {}
    for part in text.split(","):
        name, _, written = (piece.strip() for piece in part.partition("="))
        if name not in _TIMES or _TIMES[name] in times:
            raise ValueError(f"{shown!r}: times are {', '.join(f'{one}=2s' for one in _TIMES)}, each at most once")
        try:
            times[_TIMES[name]] = parse_duration(written)
        except ValueError as error:
            raise ValueError(f"{shown!r}: {name} is {error}") from None
    return times


def _count(digits: str) -> int:
    if len(digits) > 6 or not 1 <= int(digits) <= MOST_RUNS:
        raise ValueError(f"x{digits[:10]}: a run is repeated 1 to {MOST_RUNS} times")
    return int(digits)
