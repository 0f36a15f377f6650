"""How the soak judges the memory of a daemon."""

import pytest

from support.soak.daemon_memory import MAX_ALLOCATED, MAX_BLOCKS, MAX_SIZE, MemorySample, measure_growth


def day(size: float = 0.0, allocated: float = 0.0, blocks: float = 0.0, *, warm_up: float = 0.0) -> list[MemorySample]:
    """Build a day with a growth of ``warm_up`` MB in the first quarter, and of so much from the second to the last."""
    return [
        MemorySample(
            runs,
            90 + min(1.0, runs / 7000) * warm_up + size * runs / 14_400,
            40 + allocated * runs / 14_400,
            600_000 + blocks * runs / 14_400,
        )
        for runs in range(0, 28_800, 100)
    ]


def test_memory_that_does_not_grow_after_the_first_quarter_is_flat() -> None:
    """Caches and histories grow to their limits at first."""
    growth = measure_growth(day(warm_up=20))
    assert (110, 110, "") == (growth.second.size, growth.last.size, growth.problem)
    assert (0, 0, 0) == growth.per_1000_runs


def test_memory_that_grows_with_each_run_is_not_flat() -> None:
    """The growth is that from the middle of the second quarter to that of the last."""
    growth = measure_growth(day(size=4.0, warm_up=20))
    assert 4.0 / 14.4 == pytest.approx(growth.per_1000_runs[0])
    assert "after 14400 runs, 4.0 more MB of resident memory are taken; 3 are permitted" == growth.problem


def test_what_is_never_freed_is_found_in_memory_that_is_flat() -> None:
    """It may fit into memory that other objects have left."""
    blocks, allocated = measure_growth(day(blocks=14_400)), measure_growth(day(allocated=1.5))
    assert "after 14400 runs, 14400.0 more blocks of Python's memory are in use; 7000 are permitted" == blocks.problem
    assert "after 14400 runs, 1.5 more MB are in use; 0.75 are permitted" == allocated.problem


def test_growth_within_the_limits_is_no_problem() -> None:
    """What is left is noise."""
    limits = (MAX_SIZE, MAX_ALLOCATED, MAX_BLOCKS)
    assert "" == measure_growth(day(*(0.99 * limit for limit in limits))).problem


def test_single_samples_do_not_count() -> None:
    """A page that is rendered at the moment takes memory for that moment."""
    samples = [
        one._replace(size=one.size + 50 * (number % 10 == 0), blocks=one.blocks * (1 + (number % 10 == 0)))
        for number, one in enumerate(day())
    ]
    assert "" == measure_growth(samples).problem


@pytest.mark.parametrize("samples", [[], [MemorySample(10, 90, 40, 600_000)], day()[:1], [day()[0]] * 100])
def test_too_few_samples_tell_nothing(samples: list[MemorySample]) -> None:
    """A daemon that makes no runs is no success."""
    with pytest.raises(ValueError, match="too few samples"):
        measure_growth(samples)
