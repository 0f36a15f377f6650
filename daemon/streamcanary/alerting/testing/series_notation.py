"""Parses the ``values`` of a series in a rule test, such as ``ok x10 stalled x3 ok _ x2``.

    ok, slow               an answer; times are 0 unless given: slow(first_token=3s, max_gap=2s)
    ok(certificate_expiry=10d)  the first certificate of the endpoint expires in ten days
    stalled, rate_limited  failed with that fault; also written failed:stalled or failed(stalled)
    failed_over:stalled    the primary failed with that fault, and a fallback answered
    retried:stalled        ok, after a first attempt that failed with that fault
    internal_error         the probe itself failed
    skipped:budget         not run: budget, overlap, concurrency, standby or shutdown
    _                      no run

Each may be followed by ``xN`` (``ok x10`` or ``okx10``), the total number of runs. In promtool ``1x10`` is one more.
"""

import difflib
import re
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from streamcanary.model.canary import Canary
from streamcanary.model.config_types.duration import parse_duration
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, BudgetState, Outcome, OutcomeKind

MAX_RUNS: Final = 10_000
"""The largest number of runs of one series."""

_MAX_LENGTH = 100_000  # characters
_RUN = re.compile(r"(?P<name>_|[a-z][a-z_]*?)(?::(?P<detail>[a-z_]+?)|\((?P<inner>[^()]*)\))?(?:x(?P<often>\d+))?")
_REPEAT = re.compile(r"x(\d+)")
_TOKEN = re.compile(r"[^\s(]+\([^()]*\)\S*|\S+")
_MAX_TOKEN_LENGTH = 200
_TIME_FIELDS = {
    "first_token": "time_to_first_token",
    "max_gap": "max_gap",
    "duration": "duration",
    "certificate_expiry": "certificate_remaining",
}
_SKIP_REASONS = ("budget", "overlap", "concurrency", "standby", "shutdown")
_WITH_FAULT = ("failed", "failed_over", "retried")
_FAULTS = {kind.value: kind for kind in FaultKind}
_BUDGET_STATES: Final = {"budget": BudgetState.EXHAUSTED}
_RUN_NAMES = ("ok", "slow", "internal_error", "skipped", *_WITH_FAULT, *_FAULTS)


class SeriesRun(Struct, frozen=True, kw_only=True):
    """The result of one run. With ``is_retried`` only the first attempt had the ``fault``. Times are seconds."""

    kind: OutcomeKind
    fault: FaultKind | None = None
    reason: str | None = None
    budget: BudgetState | None = None
    is_retried: bool = False
    time_to_first_token: float = 0.0
    max_gap: float = 0.0
    duration: float = 0.0
    certificate_remaining: float | None = None

    def to_outcome(self, canary: Canary, number: int, at: float) -> Outcome:
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
            fault=None if self.is_retried else fault,
            reason=self.reason,
            budget=self.budget,
            attempts=attempts,
            time_to_first_token=self.time_to_first_token if answered else None,
            max_gap=self.max_gap if answered else None,
            certificate_expiry=None
            if self.certificate_remaining is None
            else at + self.duration + self.certificate_remaining,
        )


def parse_values(text: object) -> tuple[SeriesRun | None, ...]:
    """Return the runs of ``text``, ``None`` for a run that did not take place.

    Raises:
        ValueError: if a word is invalid, or there are more than :data:`MAX_RUNS` runs; the message names the word.
    """
    if not isinstance(text, str):
        raise ValueError("must be text, such as 'ok x10 stalled x3 _ ok'")
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"is longer than {_MAX_LENGTH} characters")
    runs: list[SeriesRun | None] = []
    last_run: SeriesRun | None = None
    is_repeatable = False
    for token in _TOKEN.findall(text):
        if repeat := _REPEAT.fullmatch(token):
            if not is_repeatable:
                raise ValueError(f"{token!r} has no run before it to repeat; write a run first, such as ok {token}")
            runs += [last_run] * (_parse_count(repeat[1]) - 1)
            is_repeatable = False
        else:
            last_run, count = _parse_run(token)
            runs += [last_run] * (count or 1)
            is_repeatable = count is None
        if len(runs) > MAX_RUNS:
            raise ValueError(f"has more than {MAX_RUNS} runs")
    return tuple(runs)


def _parse_run(token: str) -> tuple[SeriesRun | None, int | None]:
    """Return the run of ``token``, and its count if given."""
    shortened = token if len(token) <= 40 else f"{token[:40]}…"
    found = _RUN.fullmatch(token) if len(token) <= _MAX_TOKEN_LENGTH else None
    if found is None:
        raise ValueError(
            f"{shortened!r} is not a run: write a word such as ok, stalled, failed_over:stalled, skipped:budget or _"
        )
    count = _parse_count(found["often"]) if found["often"] else None
    name, detail, times = found["name"], found["detail"], {}
    if name == "_" and not (detail or found["inner"]):
        return None, count
    if name not in _RUN_NAMES:
        near = difflib.get_close_matches(name, _RUN_NAMES, n=1)
        known = f"did you mean {near[0]}?" if near else f"known: {', '.join(_RUN_NAMES)}"
        raise ValueError(f"unknown outcome or fault {name[:40]!r}; {known}")
    if found["inner"] is not None:
        if "=" in found["inner"]:
            times = _parse_times(found["inner"], shortened)
        else:
            detail = found["inner"].strip()
    return _make_run(name, detail or None, times, shortened), count


def _make_run(name: str, detail: str | None, times: dict[str, float], shortened: str) -> SeriesRun:
    if name in _WITH_FAULT:
        fault = _fault_kind(name, detail)
        if name == "retried":
            return replace(SeriesRun(kind=OutcomeKind.OK, fault=fault, is_retried=True), **times)
        return replace(SeriesRun(kind=OutcomeKind(name), fault=fault), **times)
    if name == "skipped":
        if detail not in _SKIP_REASONS or times:
            raise ValueError(f"{shortened!r}: add the reason: {', '.join(f'skipped:{one}' for one in _SKIP_REASONS)}")
        return SeriesRun(kind=OutcomeKind.SKIPPED, reason=detail, budget=_BUDGET_STATES.get(detail))
    if detail:
        raise ValueError(f"{shortened!r}: {name} does not take {detail!r}; write only {name}")
    if name in _FAULTS:
        return replace(SeriesRun(kind=OutcomeKind.FAILED, fault=_FAULTS[name]), **times)
    return replace(SeriesRun(kind=OutcomeKind(name)), **times)


def _fault_kind(name: str, detail: str | None) -> FaultKind:
    if detail in _FAULTS:
        return _FAULTS[detail]
    raise ValueError(f"{name} needs a fault, such as {name}:stalled; known: {', '.join(_FAULTS)}")


def _parse_times(text: str, shortened: str) -> dict[str, float]:
    times = {}
    for part in text.split(","):
        name, _, written = (piece.strip() for piece in part.partition("="))
        if name not in _TIME_FIELDS or _TIME_FIELDS[name] in times:
            raise ValueError(
                f"{shortened!r}: times are {', '.join(f'{one}=2s' for one in _TIME_FIELDS)}, each at most once"
            )
        try:
            times[_TIME_FIELDS[name]] = parse_duration(written)
        except ValueError as error:
            raise ValueError(f"{shortened!r}: {name} is {error}") from None
    return times


def _parse_count(digits: str) -> int:
    if len(digits) > 6 or not 1 <= int(digits) <= MAX_RUNS:
        raise ValueError(f"x{digits[:10]}: the count of runs must be 1 to {MAX_RUNS}")
    return int(digits)
