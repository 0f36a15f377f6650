"""A sketch of a distribution of positive values: a histogram whose buckets grow by a constant factor.

It is a DDSketch (Masson, Rim, Lee, *DDSketch: a fast and fully-mergeable quantile sketch with relative-error
guarantees*, PVLDB 12, 2019). Two sketches are merged by adding their buckets, and only buckets with values are stored.
Unlike there, the end of a bucket stands for its values, not its middle: a quantile is never less than the value that
has its rank, and 2 % more at most, so that exactly the values of higher buckets are above it.

The package ``ddsketch`` implements it, too. It is not used because it has had no release since April 2024, because it
stores a sketch only with ``protobuf``, and because its buckets are lists of floats: here a sketch is the dictionary
that msgpack decodes, so that a value is added to a stored one in microseconds.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Final

from msgspec import Meta

RELATIVE_ERROR: Final = 0.02
"""By which a quantile is more than the value that has its rank, at most, as a part of that value."""

MIN_VALUE: Final = 1e-5
"""The lowest value that differs from zero."""

MAX_VALUE: Final = 1e6
"""The highest value; higher ones count as this."""

_GAMMA = 1 + RELATIVE_ERROR
_BUCKETS_PER_E = 1 / math.log(_GAMMA)
_FIRST: Final = math.floor(math.log(MIN_VALUE) * _BUCKETS_PER_E)
_LAST: Final = math.ceil(math.log(MAX_VALUE) * _BUCKETS_PER_E)
_MAX_COUNT = 2**53

QuantileSketch = dict[
    Annotated[int, Meta(ge=_FIRST, le=_LAST)],
    Annotated[int, Meta(ge=0, le=_MAX_COUNT)],
]
"""The number of values in each bucket. Bucket ``i`` ends at ``1.02 ** i``; the first one is for zero."""


def add_value(sketch: QuantileSketch, value: float) -> None:
    """Add a value; one below :data:`MIN_VALUE` counts as zero, and ``nan`` is left out."""
    if value <= MIN_VALUE:
        bucket = _FIRST
    elif value < MAX_VALUE:
        bucket = math.ceil(math.log(value) * _BUCKETS_PER_E)
    elif value >= MAX_VALUE:
        bucket = _LAST
    else:
        return
    sketch[bucket] = sketch.get(bucket, 0) + 1


def merge_sketch(sketch: QuantileSketch, other: QuantileSketch) -> None:
    """Add the values of ``other``."""
    for bucket, count in other.items():
        sketch[bucket] = min(sketch.get(bucket, 0) + count, _MAX_COUNT)


def value_count(sketch: QuantileSketch) -> int:
    """Return the number of values."""
    return sum(sketch.values())


def quantile(sketch: QuantileSketch, part: float) -> float | None:
    """Return the lowest value that at least ``part`` (0 to 1) of the values do not exceed; ``None`` without values."""
    return quantiles(sketch, (part,))[0] if sketch else None


def quantiles(sketch: QuantileSketch, parts: Sequence[float]) -> list[float]:
    """Return the quantiles for ``parts``, which are in ascending order; none without values."""
    total, seen, found = value_count(sketch), 0, 0
    ends: list[float] = []
    ranks = [min(total - 1, int(part * total)) for part in parts]
    for bucket in sorted(sketch):
        seen += sketch[bucket]
        while found < len(ranks) and ranks[found] < seen:
            ends.append(bucket_end(bucket))
            found += 1
    return ends


def count_above(sketch: QuantileSketch, limit: float) -> float:
    """Return the number of values above ``limit``; of those in its bucket, a part by its position there."""
    if limit < MIN_VALUE:
        return value_count(sketch) - sketch.get(_FIRST, 0)
    position = round(math.log(min(limit, MAX_VALUE)) * _BUCKETS_PER_E, 9)  # rounded: the end of a bucket is its end
    bucket = math.ceil(position)
    above = sum(count for number, count in sketch.items() if number > bucket)
    return above + (bucket - position) * sketch.get(bucket, 0)


def bucket_end(bucket: int) -> float:
    """Return the highest value in a bucket, which stands for all of them."""
    return 0.0 if bucket <= _FIRST else _GAMMA**bucket
