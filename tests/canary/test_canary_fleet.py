"""When the members of a fleet run: spread over the interval of each, and as often together as configured."""

from collections import Counter

from streamcanary.canary.scheduling.triggers import first_runs
from streamcanary.model.canary import Canary

EVERY = 3000.0  # seconds: 30 s times 100 members
START = 1_800_000_000.0


def members_first_runs(count: int, **options: bool) -> list[float]:
    """Return when each member that starts at ``START`` runs its two canaries first, in seconds after it."""
    canaries = [Canary(name=name, target="t", provider="p", interval=EVERY) for name in ("chat", "other")]
    return [
        run.due - START
        for member in range(count)
        for run in first_runs(canaries, START, instance=f"shop/pod-{member}", min_gap=0.0, **options).values()
    ]


def test_members_that_start_at_once_do_not_run_at_once() -> None:
    """Of a hundred members that start in the same instant, none runs at once: each waits for its phase."""
    times = members_first_runs(100, at_phase=True)
    per_half_minute = Counter(int(time // 30) for time in times)
    assert True is (max(per_half_minute.values()) <= 9)  # two on average; Poisson: fewer than one of 5,000 have ten
    assert True is (0 < min(times) and max(times) <= EVERY)
    assert True is (len(per_half_minute) > 70)


def test_a_daemon_alone_runs_at_once() -> None:
    """Without a fleet, the first result is there within a second."""
    assert True is (max(members_first_runs(1)) < 1.0)


def test_the_phase_of_a_member_is_the_same_after_a_restart() -> None:
    """A member that is restarted runs when it would have run."""
    canary = Canary(name="chat", target="t", provider="p", interval=EVERY)
    first = first_runs([canary], START, instance="shop/a", min_gap=0.0, at_phase=True)["chat"]
    again = first_runs([canary], first.due - 1.0, instance="shop/a", min_gap=0.0, at_phase=True)["chat"]
    assert first.due == again.due
    assert first.due + EVERY == first.trigger.next_after(first.due)
