"""The ``shift`` detector: how what was learned becomes a CUSUM, and what it warns of."""

import pytest

from streamcanary.alerting.detectors import SampleStream, Shift
from streamcanary.model.schedules.schedule import Every

TIGHT = tuple(0.6 + 0.022 * number for number in range(20))
"""Quantiles relative to the limit: nine of ten values are within a factor of two of it."""
WIDE = tuple(0.01 * 1.3**number for number in range(20))


def stream(
    interval: float = 30.0, quantiles: tuple[float, ...] | None = TIGHT, base_rate: float = 0.1, bursts: float = 0.0
) -> SampleStream:
    """Return a stream about which something was learned."""
    return SampleStream("chat", Every(interval), 1.0, bursts, base_rate, quantiles)


def test_it_is_a_cusum_between_what_is_normal_and_what_would_be() -> None:
    """If values are close together, nearly all are above the limit at twice the time, and few samples are enough."""
    detector = Shift(type="shift")
    cusum = detector.for_stream(stream())
    assert detector.parts(stream()) == (0.1, 0.9)
    assert (cusum.step, cusum.threshold) == (1, 7)


def test_values_that_vary_need_more_evidence() -> None:
    """The further the values are apart, the more samples it takes."""
    spread = tuple(0.2 + 0.044 * number for number in range(20))
    assert Shift(type="shift").for_stream(stream(quantiles=spread)).threshold > 7


def test_fewer_false_pages_need_more_evidence() -> None:
    """A stricter promise has a higher threshold, and so has clustering of slow answers."""
    thresholds = [
        Shift(type="shift", false_pages=pages).for_stream(stream(bursts=bursts)).threshold
        for pages, bursts in (("1 per 30d", 0.0), ("1 per 365d", 0.0), ("1 per 3650d", 0.0), ("1 per 365d", 0.4))
    ]
    assert thresholds == sorted(thresholds)
    assert thresholds[0] < thresholds[2]
    assert thresholds[1] < thresholds[3]


def test_no_threshold_is_reached_by_one_sample() -> None:
    """For any interval and promise that is valid, two bad samples in a row are the least that fires."""
    for interval in (1.0, 30.0, 3600.0):
        for pages in ("1 per 1h", "1 per day", "1 per 365d"):
            detector = Shift(type="shift", false_pages=pages)
            if detector.config_error(stream(interval)) is None:
                for quantiles in (TIGHT, WIDE, None):
                    cusum = detector.for_stream(stream(interval, quantiles))
                    assert cusum.threshold > cusum.step, (interval, pages)


def test_a_promise_that_allows_to_fire_at_one_answer_is_an_error() -> None:
    """A false page an hour of a canary that runs every ten minutes would fire at a single slow answer."""
    problem = Shift(type="shift", false_pages="1 per 1h").config_error(stream(600.0))
    assert problem is not None
    assert problem.path == ("false_pages",)
    assert problem.message == "a single slow run would fire (chat runs every 10m): write fewer, such as 1 per 30d"


def test_a_factor_that_cannot_be_recognised_is_a_warning() -> None:
    """If the values vary by more than the factor, the warning has one that is recognised."""
    detector = Shift(type="shift")
    assert detector.config_warning(stream()) is None
    warning = detector.config_warning(stream(quantiles=WIDE))
    assert warning is not None
    assert warning.startswith("values vary so much that 2x cannot be recognised: 25% of the answers would be over")
    factor = detector.smallest_factor(stream(quantiles=WIDE))
    assert Shift(type="shift", worse=factor).config_warning(stream(quantiles=WIDE)) is None


@pytest.mark.parametrize("text", ["2", 2, "x", "1.05x", "101x", "-2x", "2 x 3", None, True])
def test_what_is_no_factor_is_refused(text: object) -> None:
    """A factor is a number from 1.1 to 100 with an ``x``."""
    with pytest.raises(ValueError, match=r"not a factor|must be from"):
        Shift.model_validate({"type": "shift", "worse": text})


@pytest.mark.parametrize("text", ["2x", " 2 x ", "1.1x", "100x"])
def test_factors(text: str) -> None:
    """Factors are written as they are spoken, and are written back in the same way."""
    detector = Shift.model_validate({"type": "shift", "worse": text})
    assert Shift.model_validate(detector.model_dump()) == detector
