"""How much slow answers cluster is estimated from all values, while the days are too few to count the slow ones."""

import math
from random import Random

import pytest

from streamcanary.alerting.learning.baseline import DAY
from streamcanary.alerting.learning.value_autocorrelation import autocorrelation_of_slow_values

RUNS = 2880  # a day at 30 s


def values(memory: float, seed: int = 1) -> list[float]:
    """Return log-normal times of a day, whose logarithm remembers a part of itself from run to run."""
    random, load, found = Random(seed), 0.0, []  # noqa: S311 - a simulation
    for _ in range(RUNS):
        load = memory * load + math.sqrt(1 - memory * memory) * random.gauss(0, 1)
        found.append(math.exp(0.3 * load))
    return found


@pytest.mark.parametrize(("memory", "expected"), [(0.6, 0.43), (0.8, 0.69), (0.9, 0.84), (0.98, 0.97)])
def test_load_that_is_remembered(memory: float, expected: float) -> None:
    """The bound is that of the chain whose counts vary as those of the slow values do, and a little more."""
    assert autocorrelation_of_slow_values([values(memory)], DAY) == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("seed", range(5))
def test_independent_values_have_none(seed: int) -> None:
    """Chance pairs of slow values are no bursts."""
    assert autocorrelation_of_slow_values([values(0.0, seed)], DAY) == 0


def test_an_outage_and_the_hours_of_the_day_are_not_bursts() -> None:
    """Independent values that are three times as high for four hours, and twice as high in the afternoon, have none."""
    series = [
        value * (3 if 500 <= number < 980 else 1) * (2 if number >= RUNS / 2 else 1)
        for number, value in enumerate(values(0.0))
    ]

    assert autocorrelation_of_slow_values([series], DAY) == 0


def test_the_canary_that_clusters_most_decides() -> None:
    """Runs of independent canaries in turn hide what each has by itself."""
    one, other = values(0.9, 1), values(0.9, 2)
    in_turn = [value for pair in zip(one, other, strict=True) for value in pair]

    assert autocorrelation_of_slow_values([in_turn], DAY) == 0
    assert autocorrelation_of_slow_values([in_turn, one, other], DAY) > 0.8


@pytest.mark.parametrize("series", [[], [1.0], [0.5] * RUNS, [1.0, 2.0] * 40])
def test_few_or_equal_values_say_nothing(series: list[float]) -> None:
    """Equal values, those that alternate, and too few have no autocorrelation."""
    assert autocorrelation_of_slow_values([series], DAY) == 0
    assert autocorrelation_of_slow_values([], DAY) == 0
