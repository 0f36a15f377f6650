"""The page about detection: its times are those of the simulation, and its picture is that of the example."""

from pathlib import Path

import pytest
from bench import detection
from tools.docs.detection import PAGE, detection_files
from tools.docs.page import Stale

from streamcanary.alerting.forecast.shapes import RuleDelays, parse_shape

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("text", ["50% on all", "60s of 100% every 5m"])
def test_the_times_on_the_page_are_simulated(text: str) -> None:
    """A row of the page has the median and its confidence interval for each rule; its seed is fixed."""
    shape = parse_shape(text)
    found = detection.simulate([shape])
    row = " | ".join([text, *(detection.cell(found.delays[rule, shape]) for rule in found.rules)])
    assert f"| {row} |" in (ROOT / PAGE).read_text(encoding="utf-8")


def test_per_canary_and_target_is_close_to_the_better_of_the_two() -> None:
    """The claim of the page, for an outage of all and one of a model: at most a quarter later than the better rule."""
    shapes = [parse_shape("50% on all"), parse_shape("100% on one model")]
    found = detection.simulate(shapes)
    single, pooled, _, _, _, both = found.rules
    for shape in shapes:
        better = min(found.delays[rule, shape].median or 0 for rule in (single, pooled))
        assert (found.delays[both, shape].median or 0) < 1.25 * better


def test_a_median_has_a_confidence_interval() -> None:
    """The interval contains the median; an outage that is seldom detected has none."""
    delays = RuleDelays(tuple(float(number) for number in range(1, 62)))
    low, high = detection.interval(delays) or (0, 0)
    assert low < 31 < high
    assert (None, "- (25%)") == (
        detection.interval(RuleDelays((5.0, None, None, None))),
        detection.cell(RuleDelays((5.0, None, None, None))),
    )


def test_a_page_without_markers_is_stale() -> None:
    """The generated part belongs between markers."""
    with pytest.raises(Stale, match="lacks <!-- forecast"):
        detection_files("# Detection", simulate_times=False)
