"""Parses the ``values`` of a series in a rule test, such as ``ok x10 stalled x3 ok _ x2``.

    ok, slow               an answer; times are 0 unless given: slow(first_token=3s, max_gap=2s);
                           not reported unless given: ok(ratelimit_headroom=5%, tokens_per_second=12);
                           all by one model unless given: ok(model=b)
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
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from streamcanary.alerting.measures import parse_speed
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.duration import parse_duration
from streamcanary.model.config_types.fraction import parse_fraction
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, BudgetState, Outcome, OutcomeKind, OutputSpeed
from streamcanary.model.rate_limit import Quota, RateLimits

MAX_RUNS: Final = 10_000
"""The largest number of runs of one series."""

_MAX_LENGTH = 100_000  # characters
_RUN = re.compile(r"(?P<name>_|[a-z][a-z_]*?)(?::(?P<detail>[a-z_]+?)|\((?P<inner>[^()]*)\))?(?:x(?P<often>\d+))?")
_REPEAT = re.compile(r"x(\d+)")
_TOKEN = re.compile(r"[^\s(]+\([^()]*\)\S*|\S+")
_MAX_TOKEN_LENGTH = 200
_SPEED_SECONDS = 1.0  # in which the output speed is measured; without lag it does not matter
_SKIP_REASONS = ("budget", "overlap", "concurrency", "standby", "shutdown")
_WITH_FAULT = ("failed", "failed_over", "retried")
_FAULTS = {kind.value: kind for kind in FaultKind}
_BUDGET_STATES: Final = {"budget": BudgetState.EXHAUSTED}
_RUN_NAMES = ("ok", "slow", "internal_error", "skipped", *_WITH_FAULT, *_FAULTS)


def parse_headroom(text: str) -> float:
    """Return the part of a rate limit that is left: ``0%`` to ``100%``.

    Raises:
        ValueError: if ``text`` is none.
    """
    return 0.0 if text in ("0", "0%") else parse_fraction(text)


def parse_model_name(text: str) -> str:
    """Return the name of a model.

    Raises:
        ValueError: if ``text`` is empty.
    """
    if not text:
        raise ValueError("empty; write a name such as gpt-b")
    return text


_FIELDS: Final[dict[str, tuple[str, Callable[[str], Any], str]]] = {
    "first_token": ("time_to_first_token", parse_duration, "2s"),
    "max_gap": ("max_gap", parse_duration, "2s"),
    "duration": ("duration", parse_duration, "2s"),
    "certificate_expiry": ("certificate_remaining", parse_duration, "10d"),
    "ratelimit_headroom": ("headroom", parse_headroom, "10%"),
    "tokens_per_second": ("tokens_per_second", parse_speed, "20"),
    "model": ("model", parse_model_name, "gpt-b"),
}
"""What can be given of a run: the field, its parser, and an example."""


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
    headroom: float | None = None
    tokens_per_second: float | None = None
    model: str = "model"

    def to_outcome(self, canary: Canary, number: int, at: float) -> Outcome:
        """Return the outcome of run ``number`` of ``canary``, started ``at`` (seconds since the epoch)."""
        fault = make_fault(self.fault, Phase.STREAM, self.fault.value) if self.fault else None
        answered = self.kind in (OutcomeKind.OK, OutcomeKind.SLOW, OutcomeKind.FAILED_OVER)
        asked = answered or self.kind is OutcomeKind.FAILED
        faults = [fault] if fault else []
        last = [None] if answered else []
        quota = None if self.headroom is None else Quota(remaining=round(self.headroom * 1000), limit=1000)
        attempts = tuple(
            Attempt(
                number=index,
                route="primary",
                started=at,
                duration=0.0,
                fault=wrong,
                rate_limits=None if quota is None else RateLimits(requests=quota),
            )
            for index, wrong in enumerate([*faults, *last] if asked else [], 1)
        )
        speed = self.tokens_per_second
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
            output_speed=None if speed is None else OutputSpeed(tokens_per_second=speed, seconds=_SPEED_SECONDS),
            model=self.model if answered else None,
            degraded="fallback" if self.kind is OutcomeKind.FAILED_OVER else None,
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
    name, detail, measured = found["name"], found["detail"], {}
    if name == "_" and not (detail or found["inner"]):
        return None, count
    if name not in _RUN_NAMES:
        near = difflib.get_close_matches(name, _RUN_NAMES, n=1)
        known = f"did you mean {near[0]}?" if near else f"known: {', '.join(_RUN_NAMES)}"
        raise ValueError(f"unknown outcome or fault {name[:40]!r}; {known}")
    if found["inner"] is not None:
        if "=" in found["inner"]:
            measured = _parse_measured(found["inner"], shortened)
        else:
            detail = found["inner"].strip()
    return _make_run(name, detail or None, measured, shortened), count


def _make_run(name: str, detail: str | None, measured: dict[str, Any], shortened: str) -> SeriesRun:
    if name in _WITH_FAULT:
        fault = _fault_kind(name, detail)
        if name == "retried":
            return replace(SeriesRun(kind=OutcomeKind.OK, fault=fault, is_retried=True), **measured)
        return replace(SeriesRun(kind=OutcomeKind(name), fault=fault), **measured)
    if name == "skipped":
        if detail not in _SKIP_REASONS or measured:
            raise ValueError(f"{shortened!r}: add the reason: {', '.join(f'skipped:{one}' for one in _SKIP_REASONS)}")
        return SeriesRun(kind=OutcomeKind.SKIPPED, reason=detail, budget=_BUDGET_STATES.get(detail))
    if detail:
        raise ValueError(f"{shortened!r}: {name} does not take {detail!r}; write only {name}")
    if name in _FAULTS:
        return replace(SeriesRun(kind=OutcomeKind.FAILED, fault=_FAULTS[name]), **measured)
    return replace(SeriesRun(kind=OutcomeKind(name)), **measured)


def _fault_kind(name: str, detail: str | None) -> FaultKind:
    if detail in _FAULTS:
        return _FAULTS[detail]
    raise ValueError(f"{name} needs a fault, such as {name}:stalled; known: {', '.join(_FAULTS)}")


def _parse_measured(text: str, shortened: str) -> dict[str, Any]:
    """Return the fields of a run that ``text`` gives."""
    measured: dict[str, Any] = {}
    for part in text.split(","):
        name, _, written = (piece.strip() for piece in part.partition("="))
        field, parse, _ = _FIELDS.get(name, ("", parse_duration, ""))
        if not field or field in measured:
            known = ", ".join(f"{one}={example}" for one, (_, _, example) in _FIELDS.items())
            raise ValueError(f"{shortened!r}: a run can have {known}, each at most once")
        try:
            measured[field] = parse(written)
        except ValueError as error:
            raise ValueError(f"{shortened!r}: {name} is {error}") from None
    return measured


def _parse_count(digits: str) -> int:
    if len(digits) > 6 or not 1 <= int(digits) <= MAX_RUNS:
        raise ValueError(f"x{digits[:10]}: the count of runs must be 1 to {MAX_RUNS}")
    return int(digits)
