"""The statuses of canaries in memory."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from streamcanary.canary.status import statuses as statuses_module
from streamcanary.canary.status.statuses import CanaryStatuses
from streamcanary.model.alerts.incident import Evidence, Incident, MemberCounts
from streamcanary.model.alerts.status_snapshot import OpenIncident, StatusSnapshot
from streamcanary.model.canary import Canary
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind
from streamcanary.model.rate_limit import Quota, RateLimits
from streamcanary.model.schedules.cron import Cron
from streamcanary.model.status.canary_status import CanaryState, CanaryStatus
from streamcanary.store.database import Store
from support.clock import ManualClock
from support.store.builders import NOON, make_outcome, open_store

STALLED = make_fault(FaultKind.STALLED, Phase.STREAM, "no token for 5 s")


def canary(name: str = "chat", **changes: Any) -> Canary:
    """Build a canary that runs every 30 s."""
    return Canary(name=name, target="openai", provider="openai", **{"interval": 30.0, "timeout": 10.0, **changes})


def failed(number: int, **changes: Any) -> Outcome:
    """Build a failed run with three attempts."""
    attempts = tuple(
        Attempt(number=each + 1, route="primary", started=NOON + number, duration=1.0, fault=STALLED)
        for each in range(3)
    )
    return make_outcome(number, **{"kind": OutcomeKind.FAILED, "fault": STALLED, "attempts": attempts, **changes})


class Fixture:
    """Statuses of some canaries, and their clock, which is set to the last run."""

    def __init__(self, *canaries: Canary, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock(wall=NOON)
        self.all = CanaryStatuses(canaries or (canary(),), instance="test", clock=self.clock)

    def observe(self, *outcomes: Outcome) -> CanaryStatus:
        """Observe runs; return the status of ``chat`` a second after the last one."""
        for outcome in outcomes:
            self.all.observe(outcome)
            self.clock.advance(outcome.started + 1 - self.clock.time())
        return self.status

    @property
    def status(self) -> CanaryStatus:
        """The status of ``chat``."""
        found = self.all.find("chat")
        assert found is not None
        return found


def test_a_canary_without_runs_is_unknown() -> None:
    """There is nothing to say yet."""
    status = Fixture().status
    assert (CanaryState.UNKNOWN, None, (), None) == (status.state, status.since, status.recent_runs, status.day)


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (OutcomeKind.OK, CanaryState.OK),
        (OutcomeKind.SLOW, CanaryState.SLOW),
        (OutcomeKind.FAILED_OVER, CanaryState.DEGRADED),
        (OutcomeKind.FAILED, CanaryState.FAILING),
        (OutcomeKind.INTERNAL_ERROR, CanaryState.UNKNOWN),
        (OutcomeKind.SKIPPED, CanaryState.UNKNOWN),
    ],
)
def test_the_state_is_that_of_the_last_run(kind: OutcomeKind, state: CanaryState) -> None:
    """A run that says nothing about the target changes no state."""
    assert state is Fixture().observe(make_outcome(0, kind=kind)).state


def test_the_state_began_with_its_first_run() -> None:
    """Skipped runs and internal errors do not interrupt it."""
    status = Fixture().observe(
        make_outcome(0),
        failed(30),
        make_outcome(60, kind=OutcomeKind.SKIPPED, reason="budget"),
        make_outcome(90, kind=OutcomeKind.INTERNAL_ERROR),
        failed(120),
    )
    assert (CanaryState.FAILING, NOON + 30) == (status.state, status.since)
    assert ("stalled", "no token for 5 s") == (status.fault, status.message)
    assert ["ok", "failed", "skipped", "internal_error", "failed"] == [run.outcome for run in status.recent_runs]
    assert [None, "stalled", "budget", None, "stalled"] == [run.fault for run in status.recent_runs]
    assert [0, 3] == [run.attempts for run in status.recent_runs[:2]]


def test_a_canary_that_answers_has_no_fault() -> None:
    """The fault of an earlier state is not shown."""
    status = Fixture().observe(failed(0), make_outcome(30))
    assert (CanaryState.OK, None, "") == (status.state, status.fault, status.message)


def test_without_a_result_for_three_runs_the_state_is_unknown() -> None:
    """Three intervals and the timeout of a run."""
    fixture = Fixture()
    fixture.observe(make_outcome(0))
    fixture.clock.advance(98.0)
    assert CanaryState.OK is fixture.status.state
    fixture.clock.advance(2.0)
    assert (CanaryState.UNKNOWN, NOON + 100) == (fixture.status.state, fixture.status.since)
    assert CanaryState.OK is fixture.observe(make_outcome(200)).state


def test_a_canary_with_a_cron_expression_is_known_until_three_of_its_runs_are_missing() -> None:
    """A canary that runs on weekdays is not unknown at night."""
    fixture = Fixture(canary(cron=Cron.parse("0 9 * * *"), interval=86_400.0))
    fixture.observe(make_outcome(0))
    fixture.clock.advance(2 * 86_400.0)
    assert CanaryState.OK is fixture.status.state


def test_the_last_hour_counts_failures_before_and_after_retries() -> None:
    """It has steps of five minutes: the oldest one is left out when it is no longer complete."""
    rescued = Attempt(number=1, route="primary", started=NOON, duration=1.0, fault=STALLED)
    fixture = Fixture()
    hour = fixture.observe(
        make_outcome(0, attempts=(rescued,), time_to_first_token=0.5),
        make_outcome(30, kind=OutcomeKind.SLOW, time_to_first_token=1.5),
        failed(60, kind=OutcomeKind.FAILED_OVER),
        failed(90),
        make_outcome(120, kind=OutcomeKind.SKIPPED),
    ).hour
    assert hour is not None
    assert (4, 2, 1, 3, 1) == (hour.runs, hour.failed, hour.failed_over, hour.first_attempt_failed, hour.slow)
    assert (0.5, 0.75) == (hour.error_rate, hour.first_attempt_error_rate)
    assert hour.first_token is not None
    assert (0.5, 1.5) == (hour.first_token.p50, hour.first_token.p95)
    fixture.clock.advance(3600)
    hour = fixture.status.hour
    assert hour is not None
    assert (0, None, None) == (hour.runs, hour.error_rate, hour.first_token)


def test_the_error_rate_before_retries_is_never_below_that_after_them() -> None:
    """A complete answer that is not as expected fails the run, though none of its attempts failed."""
    hour = Fixture().observe(make_outcome(0, kind=OutcomeKind.FAILED, fault=STALLED), make_outcome(30)).hour
    assert hour is not None
    assert (0.5, 0.5) == (hour.error_rate, hour.first_attempt_error_rate)


def test_the_headroom_is_that_of_the_last_response() -> None:
    """Of each quota that the provider reports."""
    limits = RateLimits(requests=Quota(remaining=1, limit=10), tokens=Quota(remaining=900, limit=1000))
    attempt = Attempt(number=1, route="primary", started=NOON, duration=1.0, rate_limits=limits)
    assert {"requests": 0.1, "tokens": 0.9} == Fixture().observe(make_outcome(0, attempts=(attempt,))).headroom


def test_recent_runs_are_bounded_for_each_canary_and_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many canaries each keeps fewer."""
    fixture = Fixture()
    assert 60 == len(fixture.observe(*(make_outcome(number) for number in range(100))).recent_runs)
    monkeypatch.setattr(statuses_module, "MAX_RUNS", 10)
    fixture.all.configure([canary(), canary("other")], instance="test")
    assert ["run-95", "run-99"] == [fixture.status.recent_runs[each].run_id for each in (0, -1)]


def test_statuses_are_cached_between_changes() -> None:
    """The status of a canary without a change is the same object."""
    fixture = Fixture(canary(), canary("other"))
    fixture.observe(make_outcome(0))
    before = fixture.all.statuses()
    fixture.observe(make_outcome(1))
    after = fixture.all.statuses()
    assert (False, True) == (before[0] is after[0], before[1] is after[1])


def test_changes_are_found_by_revision() -> None:
    """Only canaries that have changed after it are returned."""
    fixture = Fixture(canary(), canary("other"))
    before = fixture.all.revision
    fixture.observe(make_outcome(0))
    assert ["chat"] == [status.name for status in fixture.all.changed_since(before)]
    assert () == fixture.all.changed_since(fixture.all.revision)


def test_a_canary_that_becomes_unknown_has_changed() -> None:
    """Nothing but time has passed."""
    fixture = Fixture()
    fixture.observe(make_outcome(0))
    before = fixture.all.revision
    fixture.clock.advance(200)
    assert [CanaryState.UNKNOWN] == [status.state for status in fixture.all.changed_since(before)]


def test_the_alerts_of_a_canary_include_pooled_ones() -> None:
    """A pooled alert lists the canaries that fail."""
    fixture = Fixture(canary(), canary("other"), canary("third"))
    pooled = Incident(
        key="p",
        rule="Pooled",
        subject="target openai",
        scope="target",
        opened=NOON,
        evidence=Evidence(failing=(MemberCounts("chat", 1, 1), MemberCounts("other", 1, 1))),
    )
    single = Incident(key="s", rule="Errors", subject="chat", canary="chat", opened=NOON)
    before = fixture.all.revision
    snapshot = StatusSnapshot(incidents=(OpenIncident(incident=pooled), OpenIncident(incident=single)), firing_count=2)
    fixture.all.alerts = lambda: snapshot
    fixture.clock.advance(1)
    assert [("Pooled", "Errors"), ("Pooled",), ()] == [status.alerts for status in fixture.all.statuses()]
    assert ["chat", "other"] == [status.name for status in fixture.all.changed_since(before)]


def test_the_next_run_is_asked_for_when_it_is_due() -> None:
    """The scheduler knows it."""
    fixture = Fixture()
    due = [NOON + 5, NOON + 35]
    fixture.all.next_run = lambda _: next(each for each in due if each > fixture.clock.time())
    assert NOON + 5 == fixture.status.next_run
    fixture.clock.advance(6)
    assert NOON + 35 == fixture.status.next_run


def test_a_reload_keeps_the_runs_of_canaries_also_of_renamed_ones() -> None:
    """Removed canaries are forgotten, and their last runs change nothing."""
    fixture = Fixture(canary("old"), canary("gone"))
    fixture.all.observe(make_outcome(0, canary="old"))
    fixture.all.configure([canary(renamed_from="old"), canary("new")], instance="test")
    fixture.all.observe(make_outcome(1, canary="gone"))
    assert ["chat", "new"] == [status.name for status in fixture.all.statuses()]
    assert ["run-0"] == [run.run_id for run in fixture.status.recent_runs]
    assert fixture.all.find("gone") is None


@asynccontextmanager
async def loaded(store: Store, fixture: Fixture, *live: Outcome) -> AsyncIterator[Fixture]:
    """Load what ``store`` has, while the runs ``live`` end."""
    async with fixture.all as statuses:
        for outcome in live:
            fixture.observe(outcome)
        statuses.load(store)
        async with asyncio.timeout(10):
            while fixture.status.month is None and statuses.load_error is None:
                await asyncio.sleep(0.01)
        yield fixture


async def stored(path: Path, outcomes: Sequence[Outcome]) -> Store:
    """Open a store with these runs."""
    store = open_store(path / "s.db", keep=40 * 86_400.0)
    await store.commit((), outcomes)
    return store


async def test_recorded_runs_are_loaded_at_the_start(tmp_path: Path) -> None:
    """State, since when, runs and counts are as before the restart, and runs that ended meanwhile follow."""
    store = await stored(tmp_path, [make_outcome(0), failed(30), failed(60)])
    async with loaded(store, Fixture(), failed(90)) as fixture:
        status = fixture.status
    await store.close()
    assert (CanaryState.FAILING, NOON + 30) == (status.state, status.since)
    assert ["run-0", "run-30", "run-60", "run-90"] == [run.run_id for run in status.recent_runs]
    assert status.hour is not None
    assert (4, 3) == (status.hour.runs, status.hour.failed)


@pytest.mark.parametrize("former", [None, "old"])
async def test_a_state_that_is_older_than_the_loaded_runs_began_when_the_store_says(
    tmp_path: Path, former: str | None
) -> None:
    """An outage or a good time of many runs is as long after a restart as before it, also across a renaming."""
    name = "chat" if former is None else former
    bad = [failed(30 * number, canary=name) for number in range(1, 100)]
    later = [failed(30 * number) for number in range(100, 200)]
    store = await stored(tmp_path, [make_outcome(0, canary=name), *bad, *later])
    async with loaded(store, Fixture(canary(renamed_from=former))) as fixture:
        status = fixture.status
    assert (CanaryState.FAILING, NOON + 30, 60) == (status.state, status.since, len(status.recent_runs))
    await store.commit((), [make_outcome(30 * number) for number in range(200, 300)])
    async with loaded(store, Fixture(canary(renamed_from=former))) as fixture:
        status = fixture.status
    await store.close()
    assert (CanaryState.OK, NOON + 6000) == (status.state, status.since)


async def test_runs_before_a_renaming_are_loaded(tmp_path: Path) -> None:
    """They are recorded under the former name."""
    store = await stored(tmp_path, [make_outcome(0, canary="old"), make_outcome(30)])
    async with loaded(store, Fixture(canary(renamed_from="old")), make_outcome(60)) as fixture:
        status = fixture.status
    await store.close()
    assert ["run-0", "run-30", "run-60"] == [run.run_id for run in status.recent_runs]
    assert status.month is not None
    assert 2 == status.month.runs


async def test_the_last_day_week_and_month_come_from_the_store(tmp_path: Path) -> None:
    """Availability counts failures after retries; the hours have percentiles within 2 %."""
    day = 86_400
    runs = [
        *(failed(-20 * day + number) for number in range(4)),
        *(make_outcome(-3 * day + number) for number in range(6)),
        *(make_outcome(-7200 + number, time_to_first_token=0.1 * (number + 1)) for number in range(11)),
        make_outcome(0),
    ]
    store = await stored(tmp_path, runs)
    async with loaded(store, Fixture(), make_outcome(1)) as fixture:
        status = fixture.status
        faults = await fixture.all.faults_of("chat")
    await store.close()
    assert status.day is not None
    assert status.week is not None
    assert status.month is not None
    assert (12, 18, 22) == (status.day.runs, status.week.runs, status.month.runs)
    assert (1.0, 1.0, pytest.approx(18 / 22)) == tuple(
        each.availability for each in (status.day, status.week, status.month)
    )
    assert [11] == [hour.runs for hour in status.hours]
    assert status.hours[0].first_token is not None
    assert pytest.approx(0.6, rel=0.02) == status.hours[0].first_token.p50
    assert NOON - 20 * day - 3600 * 6 <= (status.known_since or 0) <= NOON - 20 * day
    assert () == faults


async def test_the_hours_of_a_large_fleet_are_in_the_statuses_that_ask_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All statuses at once have none, to save memory; that of one canary, and those of a page, have all."""
    monkeypatch.setattr(statuses_module, "SMALL_FLEET", 1)
    store = await stored(tmp_path, [make_outcome(-7200 + number) for number in range(11)])
    async with loaded(store, Fixture(canary(), canary("other")), make_outcome(1)) as fixture:
        found, listed = fixture.status, fixture.all.statuses()
        completed = fixture.all.with_hours(listed)
    await store.close()
    assert [11] == [hour.runs for hour in found.hours]
    assert [(), ()] == [status.hours for status in listed]
    assert [found.hours, ()] == [status.hours for status in completed]


async def test_faults_are_counted_for_a_week(tmp_path: Path) -> None:
    """With who can fix them, the most frequent first."""
    limited = make_fault(FaultKind.RATE_LIMITED, Phase.HEADERS, "slow down")
    runs = [failed(-9000), failed(-8000), failed(-7000, fault=limited), failed(-10 * 86_400)]
    store = await stored(tmp_path, runs)
    async with loaded(store, Fixture(), make_outcome(0)) as fixture:
        faults = await fixture.all.faults_of("chat")
        assert () == await fixture.all.faults_of("unknown")
    await store.close()
    assert [("stalled", "provider", 2), ("rate_limited", "quota", 1)] == [
        (each.kind, each.blame, each.count) for each in faults
    ]


async def test_without_a_readable_store_the_live_state_is_complete(tmp_path: Path) -> None:
    """The reason is kept, and runs are observed."""
    store = await stored(tmp_path, [failed(0)])
    await store.close()
    async with loaded(store, Fixture(), make_outcome(30)) as fixture:
        assert fixture.all.load_error is not None
        assert (CanaryState.OK, None) == (fixture.status.state, fixture.status.day)


async def test_statistics_follow_soon_after_the_first_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not first read after half a minute, and the canary has changed when they come."""
    monkeypatch.setattr(statuses_module, "_RECORDED_AFTER", 0.0)
    store, run = await stored(tmp_path, []), make_outcome(-1)  # the clock stays: a read that takes time slows the next
    fixture = Fixture(canary(), canary("other"))
    async with asyncio.timeout(10), fixture.all as statuses:
        statuses.load(store)
        await asyncio.sleep(0)
        await store.commit((), [run])
        status = fixture.observe(run)
        assert status.day is None
        before = statuses.revision
        while fixture.status.day is None:
            await asyncio.sleep(0.01)
        assert ["chat"] == [each.name for each in statuses.changed_since(before)]
    await store.close()
    assert 1 == fixture.status.day.runs
