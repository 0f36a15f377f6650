"""A series of samples counts them, and leaves out the excursions of a CUSUM that reach its threshold."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcanary.alerting.learning.failure_series import FailureSeries

SAMPLES = st.lists(st.booleans(), max_size=60)


def _outside_incidents(samples: list[bool], step: int, threshold: int) -> list[bool]:
    """Return the samples outside incidents, sample by sample."""
    kept: list[bool] = []
    excursion: list[bool] = []
    total, is_incident = 0, False
    for bad in samples:
        total = min(total + step, threshold) if bad else max(total - 1, 0)
        is_incident = is_incident or total == threshold
        excursion.append(bad)
        if total == 0:
            kept += [] if is_incident else excursion
            excursion, is_incident = [], False
    return kept + ([] if is_incident else excursion)


@given(samples=SAMPLES)
def test_a_series_has_its_samples(samples: list[bool]) -> None:
    """A series yields the samples that were added, and counts them."""
    series = FailureSeries(samples)

    assert (list(series), series.bad, series.total) == (samples, sum(samples), len(samples))


@given(samples=SAMPLES)
def test_neighbours_are_counted(samples: list[bool]) -> None:
    """``followed`` counts bad samples with a successor, ``repeats`` those whose successor is bad."""
    series = FailureSeries(samples)
    followed = [after for before, after in pairwise(samples) if before]

    assert (series.followed, series.repeats) == (len(followed), sum(followed))


@given(samples=SAMPLES, step=st.integers(1, 4), threshold=st.integers(1, 12))
def test_excursions_that_reach_the_threshold_are_left_out(samples: list[bool], step: int, threshold: int) -> None:
    """The series without incidents is what a CUSUM leaves that sees one sample after the other."""
    outside, incidents = FailureSeries(samples).without_incidents(step, threshold)

    assert list(outside) == _outside_incidents(samples, step, threshold)
    assert (incidents > 0) == (outside.total < len(samples))


@given(samples=SAMPLES, size=st.integers(1, 20))
def test_blocks_are_the_series(samples: list[bool], size: int) -> None:
    """Blocks have the given size, except the last, which has the rest, and together they are the series."""
    blocks = [list(block) for block in FailureSeries(samples).blocks(size)]

    assert [bad for block in blocks for bad in block] == samples
    assert all(len(block) == size for block in blocks[:-1])
    assert all(len(block) < 2 * size for block in blocks)


def test_a_block_has_samples() -> None:
    """A block size of zero is an error of the caller."""
    with pytest.raises(ValueError, match="a block of 0 samples"):
        list(FailureSeries([True]).blocks(0))
