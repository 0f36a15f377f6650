"""The promise of ``shift`` holds in a simulation: answers that cluster by load fire no more often than promised."""

import math
from collections.abc import Iterator
from random import Random

import pytest

from streamcanary.alerting.detectors import Cusum
from streamcanary.alerting.forecast.baseline import RuleBaseline
from streamcanary.alerting.forecast.shift_forecast import ShiftForecast, shift_forecasts
from streamcanary.alerting.learning.baseline import DAY
from streamcanary.alerting.learning.history import learning_cusum
from streamcanary.alerting.learning.value_baseline import ValueSeries, estimate_values
from streamcanary.alerting.rules import Rule
from streamcanary.alerting.scope import ScopeValue
from support.alerting.builders import CHAT

EVERY = 30.0
RULE = Rule.model_validate({"measure": "first_token", "detector": {"type": "shift", "false_pages": "1 per 7d"}})
VALUE = ScopeValue("canary", "chat", (CHAT,))


def loaded_answers(memory: float, seed: int) -> Iterator[float]:
    """Yield log-normal times; the load of which they depend remembers a part of itself from run to run."""
    random, load = Random(seed), 0.0  # noqa: S311 - a simulation
    while True:
        load = memory * load + math.sqrt(1 - memory * memory) * random.gauss(0, 1)
        yield 0.5 * math.exp(0.3 * load)


def learn(answers: Iterator[float], days: float = 7.0) -> tuple[ShiftForecast, Cusum, float]:
    """Return the forecast, the detector and the limit after so many days of answers."""
    series = ValueSeries()
    for number in range(int(days * DAY / EVERY)):
        series.append("chat", number * EVERY, next(answers))
    unlearned = VALUE.stream()

    def cusum(rate: float, autocorrelation: float) -> tuple[int, int]:
        stream = unlearned._replace(base_rate=rate, autocorrelation=autocorrelation)
        return learning_cusum(RULE.detector, stream)

    learned = estimate_values(series, cusum)
    assert learned is not None
    [forecast] = shift_forecasts([RuleBaseline("R", RULE, VALUE, learned, None)])
    detector = RULE.detector.for_stream(VALUE.stream(learned))
    assert isinstance(detector, Cusum)
    [limit] = learned.limits["chat"]
    return forecast, detector, limit


def runs_to_fire(detector: Cusum, samples: Iterator[bool], count: int) -> list[int]:
    """Return the numbers of samples after which the detector fires, from its initial state each time."""
    found = []
    for _ in range(count):
        state, runs, is_firing = None, 0, False
        while not is_firing:
            runs += 1
            state, is_firing, _ = detector.feed(state, bad=next(samples), at=runs * EVERY, firing=False)
        found.append(runs)
    return found


@pytest.mark.parametrize("memory", [0.0, 0.3, 0.6, 0.8, 0.9, 0.95, 0.98])
def test_false_pages_are_at_most_those_promised(memory: float) -> None:
    """A rule that may fire once in seven days fires every five days or more seldom, however much the load remembers."""
    answers = loaded_answers(memory, seed=1)
    _, detector, limit = learn(answers)
    above = (value > limit for value in answers)

    pages, state = 0, None
    for number in range(int(12 * 7 * DAY / EVERY)):
        state, is_firing, _ = detector.feed(state, bad=next(above), at=number * EVERY, firing=False)
        pages, state = pages + is_firing, None if is_firing else state

    assert pages <= 12 * 7 / 5


@pytest.mark.parametrize("days", [1.0, 2.0])
@pytest.mark.parametrize("memory", [0.0, 0.3, 0.6, 0.8, 0.9, 0.95, 0.98])
def test_false_pages_after_a_short_history_are_at_most_those_promised(memory: float, days: float) -> None:
    """A day has few bursts of slow answers; what is learned from it fires no more often than once in seven days."""
    pages = 0
    for seed in range(6):
        answers = loaded_answers(memory, seed)
        _, detector, limit = learn(answers, days)
        state = None
        for number in range(int(28 * DAY / EVERY)):
            state, is_firing, _ = detector.feed(state, bad=next(answers) > limit, at=number * EVERY, firing=False)
            pages, state = pages + is_firing, None if is_firing else state

    assert pages <= 6 * 28 / 7


@pytest.mark.parametrize("outage", [0, 40, 200])
@pytest.mark.parametrize("days", [1.0, 1.5])
def test_independent_answers_are_not_taken_for_bursts_after_a_short_history(days: float, outage: int) -> None:
    """Answers twice as slow are noticed within 16 runs on average, also after an outage in the history."""
    answers = loaded_answers(0.0, seed=3)
    history = (9 * value if 1000 <= number < 1000 + outage else value for number, value in enumerate(answers))
    _, detector, limit = learn(history, days)

    found = runs_to_fire(detector, (2 * value > limit for value in answers), 300)

    assert sum(found) / len(found) <= 16


@pytest.mark.parametrize("memory", [0.0, 0.6])
def test_a_change_is_detected_after_the_forecast_delay(memory: float) -> None:
    """When all answers take twice as long, the rule fires after the delay that ``check`` prints, within a fifth."""
    answers = loaded_answers(memory, seed=2)
    forecast, detector, limit = learn(answers)
    twice = (2 * value > limit for value in answers)

    found = runs_to_fire(detector, twice, 300)

    mean_delay = (sum(found) / len(found) - 0.5) * EVERY
    assert mean_delay == pytest.approx(forecast.detection_delays[1], rel=0.2)
