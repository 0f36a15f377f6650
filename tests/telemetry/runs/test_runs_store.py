"""The kept runs: which ones stay, in what order they are listed, and how much memory they take."""

from datetime import UTC, datetime

import msgspec
import pytest

from streamcanary.model.run_trace import RunTrace
from streamcanary.telemetry.runs.store import RunStore
from support.telemetry.run_traces import NOON, make_run

BLOB_DIGITS = "0123456789abcdef"


def numbers(store: RunStore, **filters: object) -> list[int]:
    """Return the numbers of the listed runs."""
    return [int(run.run_id) for run in store.list_runs(**filters).runs]  # type: ignore[arg-type]


def test_a_good_run_replaces_the_last_good_one() -> None:
    """Of good runs, only the last one of each canary is kept; ``slow`` is good, too."""
    store = RunStore()
    for number, outcome in enumerate(("ok", "slow", "ok"), 1):
        store.add(make_run(number, outcome=outcome))
    store.add(make_run(4, "other"))
    assert [4, 3] == numbers(store)


def test_failed_runs_are_kept_longer_than_good_ones() -> None:
    """A good run does not replace the failed ones; all three kinds of failure are kept."""
    store = RunStore()
    for number, outcome in enumerate(("failed", "ok", "failed_over", "ok", "internal_error", "ok"), 1):
        store.add(make_run(number, outcome=outcome))
    assert [6, 5, 3, 1] == numbers(store)


def test_a_skipped_run_is_not_kept() -> None:
    """A run that was cancelled at the shutdown says nothing."""
    store = RunStore()
    store.add(make_run(1, outcome="skipped"))
    assert 0 == len(store)


def test_the_first_failure_of_an_outage_stays() -> None:
    """Of many failed runs, the latest are kept, and the first one since the last good run."""
    store = RunStore(max_failed=3)
    store.add(make_run(1, outcome="failed"))
    store.add(make_run(2))
    for number in range(3, 10):
        store.add(make_run(number, outcome="failed"))
    assert [9, 8, 3, 2] == numbers(store)


def test_a_run_is_found_by_its_run_id_and_its_trace_id() -> None:
    """Both ids lead to the same run, with its spans; a replaced run is not found."""
    store = RunStore()
    store.add(make_run(1))
    run = make_run(2)
    store.add(run)
    assert (run, run) == (store.find(run.run.run_id), store.find(run.run.trace_id))
    assert (None, None) == (store.find(make_run(1).run.run_id), store.find("x"))


def test_runs_are_listed_by_canary_outcome_and_time() -> None:
    """Each filter selects, and all of them together."""
    store = RunStore()
    for number, (canary, outcome) in enumerate(
        [("a", "failed"), ("b", "failed"), ("a", "failed_over"), ("a", "ok"), ("b", "failed")], 1
    ):
        store.add(make_run(number, canary, outcome))
    assert [4, 3, 1] == numbers(store, canary="a")
    assert [5, 2, 1] == numbers(store, outcomes=("failed",))
    assert [5, 4] == numbers(store, since=datetime.fromtimestamp(NOON + 4, UTC))
    assert [5] == numbers(store, canary="b", outcomes=("failed", "ok"), since=datetime.fromtimestamp(NOON + 3, UTC))
    assert [] == numbers(store, canary="unknown")


@pytest.mark.parametrize("canary", [None, "chat"])
def test_pages_follow_each_other_without_gap_or_repetition(canary: str | None) -> None:
    """The cursor of a page leads to the next one, also if a run was added meanwhile; the last page has none."""
    store = RunStore()
    for number in range(1, 8):
        store.add(make_run(number, outcome="failed"))
    first = store.list_runs(limit=3, canary=canary)
    store.add(make_run(8, outcome="failed"))
    second = store.list_runs(limit=3, canary=canary, before=first.next)
    third = store.list_runs(limit=3, canary=canary, before=second.next)
    assert [7, 6, 5, 4, 3, 2, 1] == [int(run.run_id) for page in (first, second, third) for run in page.runs]
    assert None is third.next


def test_memory_is_bounded() -> None:
    """However many runs are added, their size stays below the limit, and is 0 when all are gone."""
    store = RunStore(max_bytes=50_000)
    for number in range(1, 1000):
        store.add(make_run(number, f"canary-{number % 97}", "failed" if number % 3 else "ok", message="x" * 300))
        assert 0 < store.size <= 50_000
    tiny = RunStore(max_bytes=10)
    tiny.add(make_run(1))
    assert (0, 0, None) == (len(tiny), tiny.size, tiny.find(make_run(1).run.run_id))


def test_a_canary_that_fails_all_the_time_takes_no_room_from_others() -> None:
    """When memory is short, older failures go first: each canary keeps its last good run and its last failure."""
    size = RunStore()
    size.add(make_run(1))
    store = RunStore(max_bytes=12 * size.size)
    for number, canary in enumerate("abcd", 1):
        store.add(make_run(number, canary))
        store.add(make_run(number + 10, canary, "failed"))
    for number in range(100, 150):
        store.add(make_run(number, "noisy", "failed"))
    assert [14, 4, 13, 3, 12, 2, 11, 1] == [number for number in numbers(store) if number < 100]
    assert 149 == numbers(store)[0]


def test_last_failures_stay_when_last_good_runs_must_go() -> None:
    """If even the last runs of all canaries are too many, the oldest good runs go before any last failure."""
    size = RunStore()
    size.add(make_run(1))
    store = RunStore(max_bytes=5 * size.size)  # six: compressed ones are smaller
    for number in range(1, 5):
        store.add(make_run(number, f"canary-{number}"))
    for number in range(11, 15):
        store.add(make_run(number, f"canary-{number - 10}", "failed"))
    kept = numbers(store)
    assert [14, 13, 12, 11] == [number for number in kept if number > 10]
    assert kept[4:] == sorted((number for number in (3, 4) if number in kept), reverse=True)


def test_the_size_includes_large_spans() -> None:
    """A run with long attributes counts with its compressed size."""
    store = RunStore()
    run = make_run(1)
    store.add(run)
    small = store.size
    noise = "".join(BLOB_DIGITS[(number * 7919 + number**2) % 16] for number in range(20_000))
    root = msgspec.structs.replace(run.root, attributes={"gen_ai.output.messages": noise})
    store.add(msgspec.structs.replace(make_run(2, "other"), root=root))
    assert store.size - small > small


def test_runs_are_compressed_when_memory_fills() -> None:
    """From an eighth of the memory on, a run takes less; it is returned as it was, before and after."""
    store = RunStore(max_bytes=20_000)
    sizes = []
    for number in range(1, 8):
        run = make_run(number, f"canary-{number}")
        root = msgspec.structs.replace(run.root, attributes={"url.full": "https://api.example/v1" * 40})
        run = msgspec.structs.replace(run, root=root)
        before = store.size
        store.add(run)
        sizes.append(store.size - before)
        assert run == store.find(run.run.run_id)
    assert sizes[0] > 1.5 * sizes[-1]


class Builder:
    """Builds the trace of a run, and counts how often."""

    def __init__(self, number: int, outcome: str = "ok") -> None:
        self.run = make_run(number, canary=f"canary-{number}", outcome=outcome)
        self.built = 0

    def __call__(self) -> RunTrace:
        self.built += 1
        return self.run


def test_the_trace_of_a_good_run_is_built_when_it_is_asked_for() -> None:
    """Listing needs the summary only; the trace is built once. That of a failed run is built at its end."""
    store = RunStore()
    good, failed = Builder(1), Builder(2, "failed")
    for each in (good, failed):
        store.add_finished(each.run.run, each)
    assert [2, 1] == numbers(store)
    assert (0, 1) == (good.built, failed.built)
    size = store.size
    assert [good.run, good.run, failed.run] == [store.find(f"{number:032d}") for number in (1, 1, 2)]
    assert (1, 1) == (good.built, failed.built)
    assert store.size < size


def test_few_good_runs_are_kept_without_their_trace() -> None:
    """Their spans take more memory: when there are more, the traces of the oldest are built, several at once."""
    store = RunStore()
    builders = [Builder(number) for number in range(1, 131)]
    for each in builders:
        store.add_finished(each.run.run, each)
    assert [*[1] * 16, *[0] * 114] == [each.built for each in builders]


def test_the_trace_of_a_replaced_run_is_never_built() -> None:
    """The next good run takes its place; nothing refers to its spans any more."""
    store = RunStore()
    builders = [Builder(1) for _ in range(300)]
    for each in builders:
        store.add_finished(each.run.run, each)
    assert 0 == sum(each.built for each in builders)
    assert 1 == len(store)
