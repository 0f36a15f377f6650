"""How the soak judges the memory of a daemon."""

import pytest

from support.soak.daemon_memory import MAX_ALLOCATED, MAX_BLOCKS, MAX_SIZE, MemorySample, measure_growth


def day(size: float = 0.0, allocated: float = 0.0, blocks: float = 0.0, *, warm_up: float = 0.0) -> list[MemorySample]:
    """Build a day whose memory grows by ``warm_up`` MB in the first quarter, and by so much with each 1,000 runs."""
    return [
        MemorySample(
            runs,
            90 + min(1.0, runs / 7000) * warm_up + size * runs / 1000,
            40 + allocated * runs / 1000,
            600_000 + blocks * runs / 1000,
        )
        for runs in range(0, 28_800, 100)
    ]


def test_memory_that_does_not_grow_after_the_first_quarter_is_flat() -> None:
    """Caches and histories grow to their limits at first."""
    growth = measure_growth(day(warm_up=20))
    assert (110, 110, 0, 0, 0, "") == (*growth, growth.problem)


def test_memory_that_grows_with_each_run_is_not_flat() -> None:
    """The growth is what 1,000 runs add."""
    growth = measure_growth(day(size=0.3, warm_up=20))
    assert 0.3 == pytest.approx(growth.size)
    assert "the daemon takes 0.300 MB more after 1,000 runs, at most 0.2 MB would be flat" == growth.problem


def test_what_is_never_freed_is_found_in_memory_that_is_flat() -> None:
    """It may fit into memory that other objects have left."""
    assert (
        "after 1,000 runs, 1000 blocks more of Python's memory are in use" == measure_growth(day(blocks=1000)).problem
    )
    assert (
        "after 1,000 runs, 0.100 MB more are in use, at most 0.05 MB would be flat"
        == measure_growth(day(allocated=0.1)).problem
    )


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
