"""How the soak judges the memory of a daemon."""

import pytest

from support.soak.daemon_memory import MAX_BLOCKS, MAX_GROWTH, MemorySample, measure_growth


def day(size_of_run: float = 0.0, blocks_of_run: float = 0.0, *, warm_up: float = 0.0) -> list[MemorySample]:
    """Build a day whose memory grows by ``warm_up`` MB in the first quarter, and by so much with each run."""
    return [
        MemorySample(runs, 90 + min(1.0, runs / 7000) * warm_up + size_of_run * runs, 600_000 + blocks_of_run * runs)
        for runs in range(0, 28_800, 100)
    ]


def test_memory_that_does_not_grow_after_the_first_quarter_is_flat() -> None:
    """Caches and histories grow to their limits at first."""
    growth = measure_growth(day(warm_up=20))
    assert (110, 110, 0, 0, "") == (*growth, growth.problem)


def test_memory_that_grows_with_each_run_is_not_flat() -> None:
    """The growth is what 1,000 runs add."""
    growth = measure_growth(day(size_of_run=0.17 / 1000, warm_up=20))
    assert 0.17 == pytest.approx(growth.size)
    assert f"the daemon takes 0.170 MB more after 1,000 runs; {MAX_GROWTH:g} MB would be flat" == growth.problem


def test_objects_that_are_never_freed_are_found_in_memory_that_is_flat() -> None:
    """An object for each run may fit into memory that other objects have left."""
    growth = measure_growth(day(blocks_of_run=1))
    assert 1000 == pytest.approx(growth.blocks)
    assert "the daemon has allocated 1000 blocks more after 1,000 runs" == growth.problem
    assert "" == measure_growth(day(blocks_of_run=MAX_BLOCKS / 1000 - 0.01)).problem


def test_single_samples_do_not_count() -> None:
    """A page that is rendered at the moment takes memory for that moment."""
    samples = [
        one._replace(size=one.size + 50 * (number % 10 == 0), blocks=one.blocks * (1 + (number % 10 == 0)))
        for number, one in enumerate(day())
    ]
    assert "" == measure_growth(samples).problem


@pytest.mark.parametrize("samples", [[], [MemorySample(10, 90, 600_000)], day()[:1]])
def test_too_few_samples_tell_nothing(samples: list[MemorySample]) -> None:
    """A daemon that makes no runs is no success."""
    with pytest.raises(ValueError, match="too few samples"):
        measure_growth(samples)
