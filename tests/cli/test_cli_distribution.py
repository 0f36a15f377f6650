"""Percentiles and histograms of what was measured."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcanary.cli.measurements.distribution import Bin, Distribution, bar, sparkline

VALUES = st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=200)


@pytest.mark.parametrize(("percent", "expected"), [(0, 1.0), (10, 1.0), (50, 5.0), (51, 6.0), (95, 10.0), (100, 10.0)])
def test_a_percentile_is_a_measured_value(percent: float, expected: float) -> None:
    """It is the least value that so many do not exceed: of ten values, the fifth is the median."""
    assert expected == Distribution(map(float, range(10, 0, -1))).percentile(percent)


@pytest.mark.parametrize(("percent", "expected"), [(0, 10.0), (50, 6.0), (95, 1.0), (100, 1.0)])
def test_a_percentile_of_a_speed_is_reached_by_so_many(percent: float, expected: float) -> None:
    """Where more is better, it is the greatest value that so many reach: the last is the worst."""
    assert expected == Distribution(map(float, range(1, 11)), more_is_better=True).percentile(percent)


def test_nothing_measured_has_no_percentile() -> None:
    """Without values there is neither a percentile nor a histogram."""
    assert (None, ()) == (Distribution().percentile(50), Distribution().histogram())


@given(VALUES)
def test_a_histogram_contains_every_value_once(values: list[float]) -> None:
    """Bins are adjacent, cover all values, and their counts add up."""
    bins = Distribution(values).histogram()
    assert len(values) == sum(each.count for each in bins)
    assert (min(values), max(values)) == (bins[0].low, bins[-1].high)
    assert all(one.high == other.low for one, other in pairwise(bins))
    assert len(bins) <= 8


def test_equal_values_have_one_bin() -> None:
    """Values that vary by less than a tenth are one group."""
    assert (Bin(1.0, 1.05, 2),) == Distribution([1.0, 1.05]).histogram()


def test_bars_show_every_count() -> None:
    """The greatest count has the whole width, one of thousands is still visible, and zero has no bar."""
    assert (24, 1, "") == (len(bar(5000, 5000)), len(bar(1, 5000)), bar(0, 5000))
    assert "▁█ ▄" == sparkline([1, 8, 0, 4])
