"""Statuses of canaries in scenarios: all well, an outage, a thousand canaries, nothing yet, hostile text."""

import random
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from streamcanary.model.status.canary_status import (
    CanaryDetail,
    CanaryState,
    CanaryStatus,
    FaultCount,
    Percentiles,
    PeriodStatistics,
    RecentRun,
    RuleStatus,
)
from streamcanary.model.status.summary import OverallState, StatusSummary

NOON = 1_800_000_000.0  # 2027-01-15T08:00:00Z
HOSTILE = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202egnp.exe\u2066\x1b[31m\x00 "
    "{{7*7}} </td></table> javascript:alert(1) " + "A" * 5000
)
"""Markup, quotes, direction overrides, terminal escapes, template syntax and length: what a provider may send."""

_MODELS = ("gpt-4o-mini", "claude-haiku", "llama-3.3-70b", "gemini-flash", "mistral-small", "gpt-4.1")


class Scenario(Struct, frozen=True, kw_only=True):
    """What the daemon knows of its canaries at :data:`NOON`."""

    summary: StatusSummary
    statuses: tuple[CanaryStatus, ...]

    def detail(self, name: str) -> CanaryDetail | None:
        """Return the detail of one canary."""
        status = next((one for one in self.statuses if one.name == name), None)
        return None if status is None else make_detail(status)


def make_runs(kinds: str, *, interval: float = 30.0, seed: int = 0, fault: str = "stalled") -> tuple[RecentRun, ...]:
    """Return runs by letter, the oldest first: ``o`` ok, ``s`` slow, ``d`` degraded, ``f`` failed, ``-`` skipped."""
    chance = random.Random(seed)  # noqa: S311 - drawings, not secrets
    outcomes = {"o": "ok", "s": "slow", "d": "failed_over", "f": "failed", "-": "skipped"}
    runs = []
    for index, letter in enumerate(kinds):
        failed = letter in "fd"
        first = round(0.3 + 0.2 * chance.random() + (1.9 if letter == "s" else 0.0), 3)
        runs.append(
            RecentRun(
                run_id=f"{seed:016x}{index:016x}",
                started=NOON - interval * (len(kinds) - index) + 18,
                outcome=outcomes[letter],
                duration=0.0 if letter == "-" else 12.4 if letter == "f" else round(first + 0.8, 3),
                attempts=0 if letter == "-" else 3 if failed else 1,
                first_token=None if letter in "f-" else first,
                fault="budget" if letter == "-" else fault if failed else None,
            )
        )
    return tuple(runs)


def make_period(
    length: float, error_rate: float = 0.0, *, started: float | None = None, **more: Any
) -> PeriodStatistics:
    """Return statistics of ``length`` seconds with runs every 30 s."""
    runs = max(1, int(length / 30))
    failed = round(runs * error_rate)
    fields: dict[str, Any] = {
        "started": NOON - length if started is None else started,
        "length": length,
        "runs": runs,
        "failed": failed,
        "first_attempt_failed": min(runs, failed + round(runs * 0.01)),
        "first_token": Percentiles(p50=0.41, p95=0.92, p99=1.3),
        "duration": Percentiles(p50=1.2, p95=2.4, p99=3.8),
        **more,
    }
    return PeriodStatistics(**fields)


def make_hours(seed: int = 0, *, failing: bool = False) -> tuple[PeriodStatistics, ...]:
    """Return 24 hours with a slow evening, and an outage in the last hour if ``failing``."""
    chance = random.Random(seed)  # noqa: S311 - drawings, not secrets
    hours = []
    for index in range(24):
        p50 = 0.35 + 0.1 * chance.random() + (0.25 if 8 <= index <= 11 else 0.0)
        p95 = p50 * (1.8 + chance.random())
        rate = 0.45 if failing and index == 23 else 0.02 if chance.random() < 0.1 else 0.0
        hours.append(
            make_period(
                3600,
                rate,
                started=NOON - 3600 * (24 - index),
                first_token=Percentiles(p50=round(p50, 3), p95=round(p95, 3), p99=round(p95 * 1.3, 3)),
                duration=Percentiles(p50=round(p50 + 0.8, 3), p95=round(p95 + 1.4, 3), p99=round(p95 + 2.2, 3)),
            )
        )
    return tuple(hours)


def make_status(name: str = "chat-mini", kinds: str = "o" * 60, *, seed: int = 0, **changes: Any) -> CanaryStatus:
    """Return the status of a canary with the runs ``kinds``; its state is that of the last one."""
    states = {"o": CanaryState.OK, "s": CanaryState.SLOW, "d": CanaryState.DEGRADED, "f": CanaryState.FAILING}
    letters = kinds.replace("-", "")
    state = states[letters[-1]] if letters else CanaryState.UNKNOWN
    in_state = len(letters) - len(letters.rstrip(letters[-1])) if letters else 0
    failing = state is CanaryState.FAILING
    fields: dict[str, Any] = {
        "name": name,
        "target": "openai",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "labels": {"tier": "prod"},
        "interval": 30.0,
        "state": state,
        "since": NOON - 30 * in_state if letters else None,
        "next_run": NOON + 12,
        "known_since": NOON - 30 * 86400,
        "recent_runs": make_runs(kinds, seed=seed),
        "hour": make_period(3600, letters.count("f") / 60 / 2),
        "hours": make_hours(seed, failing=failing),
        "day": make_period(86400, 0.012 if failing else 0.0),
        "week": make_period(7 * 86400, 0.003 if failing else 0.0004),
        "month": make_period(30 * 86400, 0.001),
        **changes,
    }
    if failing:
        fields = {"fault": "stalled", "message": "stalled: no token for 5 s", **fields}
    return CanaryStatus(**fields)


def make_detail(status: CanaryStatus) -> CanaryDetail:
    """Return the detail of ``status``: faults and rules."""
    failing = status.state is CanaryState.FAILING
    return CanaryDetail(
        status=status,
        faults=(
            FaultCount(kind="stalled", blame="provider", count=31 if failing else 2, last=NOON - 12),
            FaultCount(kind="rate_limited", blame="quota", count=4, last=NOON - 7200),
            FaultCount(kind="connect_timeout", blame="network", count=1, last=NOON - 3 * 86400),
        ),
        rules=(
            RuleStatus(
                rule="LLMErrorSpike",
                subject=status.name,
                detector="spike from 2 % to 30 %",
                progress=1.0 if failing else 0.18,
                text="17 of 17" if failing else "3 of 17",
                is_firing=failing,
                resolve_condition="6 good runs in a row",
                forecast="100 % errors: after 2 runs (1 min); 50 %: 3 min; 20 %: 11 min; false pages: 1 per year",
            ),
            RuleStatus(
                rule="LLMSlowFirstToken",
                subject=f"target {status.target}",
                detector="ratio over 50 % of 10 min",
                progress=0.52,
                text="26 % of 50 %",
                forecast="all runs slow: after 5 min",
            ),
        ),
    )


def make_summary(
    state: OverallState, sentence: str, statuses: tuple[CanaryStatus, ...], **changes: Any
) -> StatusSummary:
    """Return a summary of ``statuses``."""
    counts: dict[str, int] = {}
    for status in statuses:
        counts[status.state.value] = counts.get(status.state.value, 0) + 1
    fields = {"instance": "prod-eu", "version": "0.1.0", "started": NOON - 3 * 86400, "time": NOON, **changes}
    return StatusSummary(state=state, sentence=sentence, counts=counts, **fields)


def all_well() -> Scenario:
    """Return six canaries that are answered; one was rescued by a fallback earlier."""
    names = ("chat-mini", "chat-large", "embeddings-gate", "support-bot", "summaries", "translate")
    statuses = tuple(
        make_status(
            name,
            "o" * 40 + ("d" if index == 3 else "o") + "o" * 19,
            seed=index,
            model=_MODELS[index],
            target="openai" if index < 3 else "anthropic",
            provider="openai" if index < 3 else "anthropic",
            labels={"tier": "prod" if index % 2 else "dev"},
            next_run=NOON + 3 + 4 * index,
            headroom={"requests": 0.82, "tokens": 0.47} if index < 3 else {},
        )
        for index, name in enumerate(names)
    )
    return Scenario(summary=make_summary(OverallState.OK, "All 6 canaries answer.", statuses), statuses=statuses)


def outage() -> Scenario:
    """Return an outage: six of eight canaries of openai fail; those of two other targets are well or slow."""
    statuses = [
        make_status(
            f"{name}",
            ("o" * 47 + "f" * 13 if index < 5 else "o" * 46 + "ofoffdfffffffo"[:14] if index == 5 else "o" * 60),
            seed=index,
            model=_MODELS[0] if index % 2 else _MODELS[5],
            next_run=NOON + 3 + 3 * index,
            alerts=("LLMErrorSpike",) if index < 6 else (),
            headroom={"requests": 0.81, "tokens": 0.08 if index == 1 else 0.55},
        )
        for index, name in enumerate(
            ("chat-mini", "chat-large", "support-bot", "search-answers", "summaries", "translate", "batch", "embed")
        )
    ]
    statuses[5] = replace(statuses[5], state=CanaryState.DEGRADED, fault="stalled", since=NOON - 300)
    elsewhere = {"target": "anthropic", "provider": "anthropic", "labels": {"tier": "dev"}}
    statuses += [
        make_status("claude-chat", "o" * 50 + "sssosssss" + "s", seed=21, model="claude-haiku", **elsewhere),
        make_status("claude-tools", "o" * 60, seed=22, model="claude-sonnet", **elsewhere),
        make_status("local-llama", "oooo--oooooo" * 5, seed=23, target="vllm", provider="vllm", model="llama-3.3-70b"),
    ]
    summary = make_summary(
        OverallState.FAILING,
        "openai: 6 of 8 canaries fail (stalled)",
        tuple(statuses),
        detail="Users of openai get no answer; a fallback answers 1 of 6. 3 attempts a run. Notified: oncall, chat.",
        since=NOON - 390,
        firing=1,
        undelivered=1,
    )
    return Scenario(summary=summary, statuses=tuple(statuses))


def thousand(targets: int = 20, failing: int = 7) -> Scenario:
    """Return a thousand canaries on ``targets``, of which the first ``failing`` of the first target fail."""
    statuses = tuple(
        make_status(
            f"chat-{index:04d}",
            "o" * 50 + ("f" * 10 if index < failing else "o" * 5 + "ss"[: index % 2] + "o" * (5 - index % 2)),
            seed=index,
            target=f"target-{index * targets // 1000:02d}",
            alerts=("LLMErrorSpike",) if index < failing else (),
            labels={"tier": "prod", "team": f"team-{index % 7}"},
        )
        for index in range(1000)
    )
    summary = make_summary(
        OverallState.FAILING if failing else OverallState.OK,
        f"target-00: {failing} of 50 canaries fail (stalled)" if failing else "All 1,000 canaries answer.",
        statuses,
        since=NOON - 300 if failing else None,
        firing=1 if failing else 0,
    )
    return Scenario(summary=summary, statuses=statuses)


def nothing_yet() -> Scenario:
    """Return three canaries that have not run."""
    statuses = tuple(
        make_status(
            name, "", known_since=None, hour=None, hours=(), day=None, week=None, month=None, next_run=NOON + 12
        )
        for name in ("chat-mini", "chat-large", "support-bot")
    )
    return Scenario(summary=make_summary(OverallState.UNKNOWN, "No canary has run yet.", statuses), statuses=statuses)


def no_canaries() -> Scenario:
    """Return no canary at all."""
    return Scenario(summary=make_summary(OverallState.UNKNOWN, "There are no canaries.", ()), statuses=())


def hostile() -> Scenario:
    """Return a provider that sends markup, direction overrides and control characters wherever its text is shown."""
    status = make_status("chat-mini", "o" * 50 + "f" * 10, message=HOSTILE, model=HOSTILE, alerts=("LLMErrorSpike",))
    summary = make_summary(
        OverallState.FAILING, f"openai: fails ({HOSTILE})", (status,), detail=HOSTILE, since=NOON - 300
    )
    return Scenario(summary=summary, statuses=(status,))
