"""The median of the times between tokens comes from a bounded sample."""

import pytest

from streamcanary.client.core.measurement.gap_sample import MAX_GAPS, GapSample


def sample_of(*gaps: float) -> GapSample:
    sample = GapSample()
    for gap in gaps:
        sample.add(gap)
    return sample


@pytest.mark.parametrize(
    ("gaps", "median"), [((), None), ((3.0,), 3.0), ((3.0, 1.0), 1.0), ((5.0, 1.0, 3.0), 3.0), ((0.0, 0.0, 9.0), 0.0)]
)
def test_the_median_of_few_gaps_is_exact(gaps: tuple[float, ...], median: float | None) -> None:
    """Up to the bound, the median is that of all gaps."""
    assert median == sample_of(*gaps).median()


@pytest.mark.parametrize("count", [MAX_GAPS, MAX_GAPS + 1, 10 * MAX_GAPS + 3, 100_000])
def test_the_sample_of_many_gaps_is_bounded(count: int) -> None:
    """Of many gaps an evenly spread sample is kept, whose median is close to that of all."""
    sample = sample_of(*(float(number) for number in range(count)))
    assert True is (len(sample._kept) <= MAX_GAPS)
    assert count == sample.count
    assert sample.median() == pytest.approx(count / 2, rel=0.01)
