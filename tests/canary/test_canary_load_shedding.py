"""Skipping runs while the daemon is behind schedule: the decision, on injected times."""

from collections import Counter

import pytest

from streamcanary.canary.scheduling.load_shedding import BEHIND_AFTER, MAX_SHED, WINDOW, LoadShedder

CANARIES = [f"canary-{number}" for number in range(200)]


class Daemon:
    """A daemon whose canaries are due each second, and that can make ``capacity`` of their runs, as a share.

    What it does not make, it is late with: ``delay`` seconds.
    """

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.shedder = LoadShedder()
        self.now = 1000.0
        self.delay = 0.0
        self.runs: Counter[str] = Counter()

    def live(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1.0
            made = 0
            for canary in CANARIES:
                self.shedder.observe_due(self.delay)
                if self.shedder.admits(canary):
                    made += 1
                    self.runs[canary] += 1
            self.delay = max(0.0, self.delay + made / len(CANARIES) / self.capacity - 1.0)
            self.shedder.evaluate(self.now, 0.0)


def test_a_daemon_on_time_skips_nothing() -> None:
    """A daemon that makes all runs on time skips none of them, for an hour."""
    daemon = Daemon(capacity=1.0)
    daemon.live(3600)
    assert {3600} == set(daemon.runs.values())
    assert (0.0, False) == (daemon.shedder.share, daemon.shedder.is_behind)


@pytest.mark.parametrize("pause", [1.0, 12.0, 600.0])
def test_a_pause_is_no_overload(pause: float) -> None:
    """After one pause of any length, as when the machine sleeps, no run is skipped: the daemon catches up at once."""
    shedder = LoadShedder()
    shedder.evaluate(0.0, 0.0)
    for canary in CANARIES:
        shedder.observe_due(pause)
        assert True is shedder.admits(canary)
    shedder.evaluate(pause, pause)
    for second in range(60):
        shedder.observe_due(0.01)
        shedder.evaluate(pause + second, 0.0)
        assert (0.0, False) == (shedder.share, shedder.is_behind)


@pytest.mark.parametrize("capacity", [0.75, 0.5, 0.25])
def test_an_overloaded_daemon_skips_about_what_it_cannot_make(capacity: float) -> None:
    """After two minutes of overload, the daemon is late by seconds, not minutes, and makes most of what it can."""
    daemon = Daemon(capacity)
    daemon.live(300)
    daemon.runs.clear()
    latest, made = 0.0, 0.0
    for _ in range(600):
        daemon.live(1)
        latest = max(latest, daemon.delay)
    made = sum(daemon.runs.values()) / 600 / len(CANARIES)
    assert True is (latest < 10.0), latest
    assert True is (0.7 * capacity <= made <= capacity), made


def test_runs_are_skipped_evenly() -> None:
    """Each canary makes the same number of runs, to one or two, and none waits for more than ten of its due times."""
    daemon = Daemon(capacity=0.3)
    daemon.live(300)
    daemon.runs.clear()
    waited: Counter[str] = Counter()
    longest = 0
    for _ in range(600):
        before = daemon.runs.copy()
        daemon.live(1)
        for canary in CANARIES:
            waited[canary] = 0 if daemon.runs[canary] > before[canary] else waited[canary] + 1
            longest = max(longest, waited[canary])
    assert True is (max(daemon.runs.values()) - min(daemon.runs.values()) <= 2), daemon.runs
    assert True is (longest <= 10), longest


def test_not_all_canaries_skip_the_same_run() -> None:
    """In each round about the same share of the canaries run: the load does not come in waves."""
    daemon = Daemon(capacity=0.5)
    daemon.live(300)
    counts = []
    for _ in range(60):
        before = sum(daemon.runs.values())
        daemon.live(1)
        counts.append((sum(daemon.runs.values()) - before) / len(CANARIES))
    assert True is (max(counts) - min(counts) < 0.3), counts


def test_the_share_is_bounded() -> None:
    """However late the daemon is, each canary makes a tenth of its runs."""
    daemon = Daemon(capacity=0.001)
    daemon.live(600)
    assert MAX_SHED == daemon.shedder.share
    daemon.runs.clear()
    daemon.live(100)
    assert {9, 10, 11} >= set(daemon.runs.values())


def test_a_daemon_that_keeps_up_again_makes_all_runs() -> None:
    """When the overload is over, the share falls to nothing within some minutes, and stays there."""
    daemon = Daemon(capacity=0.5)
    daemon.live(300)
    assert True is daemon.shedder.is_behind
    daemon.capacity = 2.0
    daemon.live(300)
    daemon.runs.clear()
    daemon.live(600)
    assert {600} == set(daemon.runs.values())
    assert (0.0, False) == (daemon.shedder.share, daemon.shedder.is_behind)


def test_the_daemon_is_behind_after_two_minutes() -> None:
    """It is behind schedule once it has been late, or has skipped runs, for two minutes after the first late window."""
    shedder, now = LoadShedder(), 0.0
    states = []
    while now < BEHIND_AFTER + 3 * WINDOW:
        shedder.observe_due(3.0)
        shedder.evaluate(now, 0.0)
        states.append((now, shedder.is_behind))
        now += 1.0
    assert WINDOW + BEHIND_AFTER == next(moment for moment, is_behind in states if is_behind)


def test_a_late_event_loop_is_overload_without_a_due_run() -> None:
    """Where few runs are due, the event loop that is late most of the time shows the overload."""
    shedder = LoadShedder()
    for second in range(40):
        shedder.evaluate(float(second), 0.7)
    assert True is (shedder.share > 0)


@pytest.mark.parametrize("delay", [-3600.0, 0.0])
def test_a_run_before_its_time_is_on_time(delay: float) -> None:
    """A wall clock that was set back makes no run late."""
    shedder = LoadShedder()
    for second in range(60):
        shedder.observe_due(delay)
        shedder.evaluate(float(second), 0.0)
    assert (0.0, 0.0) == (shedder.share, shedder.delay)
