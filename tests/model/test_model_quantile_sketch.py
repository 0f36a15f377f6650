"""Quantile sketches, compared with the values themselves."""

import math
import random

import pytest

from streamcanary.model.statistics.quantile_sketch import (
    MAX_VALUE,
    QuantileSketch,
    add_value,
    count_above,
    merge_sketch,
    quantile,
    value_count,
)


def sketch_of(values: list[float]) -> QuantileSketch:
    """Return the sketch of values."""
    sketch: QuantileSketch = {}
    for value in values:
        add_value(sketch, value)
    return sketch


@pytest.mark.parametrize("spread", [0.01, 0.5, 3.0])
@pytest.mark.parametrize("part", [0.0, 0.05, 0.5, 0.9, 0.99, 1.0])
def test_a_quantile_is_within_two_percent(spread: float, part: float) -> None:
    """Whatever the spread of the values, it is not less than the exact one, and 2 % more at most."""
    source = random.Random(7)  # noqa: S311 - the same values each time
    values = sorted(source.lognormvariate(0, spread) for _ in range(5_000))
    exact = values[min(len(values) - 1, int(part * len(values)))]
    found = quantile(sketch_of(values), part)
    assert found is not None
    assert exact * (1 - 1e-9) <= found <= exact * 1.02 * (1 + 1e-9)


def test_a_merged_sketch_is_that_of_all_values() -> None:
    """The order of merging does not matter."""
    first, second = [0.1, 0.2, 7.0], [0.1, 3.0]
    merged = sketch_of(first)
    merge_sketch(merged, sketch_of(second))
    assert sketch_of(first + second) == merged
    assert 5 == value_count(merged)


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, 0.0), (-1.0, 0.0), (1e-9, 0.0), (1e300, MAX_VALUE), (math.inf, MAX_VALUE)]
)
def test_extreme_values_have_the_outermost_buckets(value: float, expected: float) -> None:
    """A value near zero is zero, and one above the highest is the highest."""
    assert pytest.approx(expected, rel=0.02) == quantile(sketch_of([value]), 0.5)


def test_the_number_of_buckets_is_bounded() -> None:
    """No values make a sketch larger than some hundred buckets."""
    assert 1300 > len(sketch_of([10 ** (exponent / 100) for exponent in range(-3000, 3000)]))


def test_not_a_number_is_left_out() -> None:
    """It has no place in the order."""
    assert {} == sketch_of([math.nan])
    assert quantile({}, 0.5) is None


def test_the_values_above_a_limit_are_counted() -> None:
    """Those above a quantile are exactly those that are."""
    sketch = sketch_of([0.5, 1.0, 1.0, 1.1, 2.0])
    assert [5, 2, 1, 0] == [count_above(sketch, limit) for limit in (0.1, 1.0, 1.2, 2.04)]
    assert 1 == count_above(sketch, quantile(sketch, 0.7) or 0)


def test_a_limit_within_a_bucket_divides_its_values() -> None:
    """Half of the values of a bucket are above its middle."""
    sketch = sketch_of([1.01] * 10)
    assert 5 == pytest.approx(count_above(sketch, 1.02**0.5))
    assert 0 == count_above({}, 1.0)
    assert 9 == count_above(sketch_of([0.0] + [1.0] * 9), 0.0)
