"""Detectors in words."""

import pytest

from streamcanary.alerting.detectors import Consecutive, Detector, NoData
from streamcanary.alerting.detectors.description import describe_detector


@pytest.mark.parametrize(
    ("detector", "words"),
    [
        (Consecutive(type="consecutive", failures=1), "consecutive: 1 bad run in a row"),
        (Consecutive(type="consecutive", failures=3), "consecutive: 3 bad runs in a row"),
        (NoData(type="no_data", runs=1), "no data: 1 run without a result"),
        (NoData(type="no_data", runs=3), "no data: 3 runs without a result"),
    ],
)
def test_one_run_is_no_plural(detector: Detector, words: str) -> None:
    """The number decides between run and runs."""
    assert words == describe_detector(detector)
