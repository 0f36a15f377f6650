"""The promise of rules that learn from rollups holds in a simulated large fleet, of which few runs are kept."""

import math
from collections.abc import Iterator
from random import Random

import pytest
from msgspec import structs

from streamcanary.alerting.detectors import Cusum
from streamcanary.alerting.learning.baseline import LearnedRate, LearnedValues
from streamcanary.alerting.rules import Rule
from streamcanary.alerting.scope import ScopeValue
from streamcanary.model.outcome import OutcomeKind
from support.alerting.builders import CHAT, NOON, a_run
from support.alerting.histories import DAY, bursty_samples
from support.alerting.rollups import learn_from_rollups

EVERY = 30.0
MIDNIGHT = NOON // DAY * DAY
DAYS = 8
SAMPLES = 250_000
VALUE = ScopeValue("canary", "chat", (CHAT,))
SLOWER = {"measure": "first_token", "detector": {"type": "shift", "false_pages": "1 per 7d"}}
ERRORS = {"detector": {"type": "spike", "normal": "learned", "spike": "30%", "false_pages": "1 per 7d"}}


def answers(memory: float, busy: float, seed: int) -> Iterator[tuple[float, float]]:
    """Yield times and log-normal values; the load remembers a part of itself, and the afternoon is ``busy``."""
    random, load, number = Random(seed), 0.0, 0  # noqa: S311 - a simulation
    while True:
        load = memory * load + math.sqrt(1 - memory * memory) * random.gauss(0, 1)
        at = MIDNIGHT + number * EVERY
        yield at, 0.5 * math.exp(0.3 * load) * (busy if at % DAY >= DAY / 2 else 1.0)
        number += 1


def days_to_fire(detector: Cusum, samples: Iterator[bool]) -> float:
    """Return the mean days after which the detector fires, from its initial state each time, in 87 days."""
    state, fired = None, 0
    for number, bad in zip(range(SAMPLES), samples, strict=False):
        state, is_firing, _ = detector.feed(state, bad=bad, at=number * EVERY, firing=False)
        if is_firing:
            state, fired = None, fired + 1
    return SAMPLES * EVERY / DAY / max(fired, 1)


@pytest.mark.parametrize(("memory", "busy"), [(0.0, 1.0), (0.3, 1.0), (0.6, 1.0), (0.8, 1.0), (0.0, 1.6), (0.6, 1.6)])
def test_shift_fires_no_more_often_than_promised(memory: float, busy: float) -> None:
    """A rule that may fire once in seven days fires every five days or more seldom, however the load remembers."""
    source = answers(memory, busy, seed=1)
    runs = [
        a_run(run_id=str(number), started=at, time_to_first_token=value)
        for number, (at, value) in zip(range(int(DAYS * DAY / EVERY)), source, strict=False)
    ]
    learned = learn_from_rollups(runs, CHAT, **SLOWER)["chat"]
    assert isinstance(learned, LearnedValues)
    detector = Rule.model_validate(SLOWER).detector.for_stream(VALUE.stream(learned))
    assert isinstance(detector, Cusum)

    above = (value > (learned.limit("chat", at) or 0) for at, value in source)

    assert days_to_fire(detector, above) > 5


@pytest.mark.parametrize("autocorrelation", [0.0, 0.2, 0.4])
def test_a_learned_rate_fires_no_more_often_than_promised(autocorrelation: float) -> None:
    """Failures at 2 % in bursts fire a rule with a learned rate every five days or more seldom."""
    runs = [
        a_run(run_id=str(number), started=MIDNIGHT + number * EVERY, kind=OutcomeKind.FAILED if bad else OutcomeKind.OK)
        for number, bad in enumerate(bursty_samples(0.02, autocorrelation, int(DAYS * DAY / EVERY), seed=3))
    ]
    learned = learn_from_rollups(runs, CHAT, **ERRORS)["chat"]
    assert isinstance(learned, LearnedRate)
    detector = Rule.model_validate(ERRORS).detector.for_stream(VALUE.stream(learned))
    assert isinstance(detector, Cusum)

    samples = iter(bursty_samples(0.02, autocorrelation, SAMPLES, seed=4))

    assert days_to_fire(detector, samples) > 5


@pytest.mark.parametrize("autocorrelation", [0.0, 0.2, 0.4])
def test_a_learned_rate_of_a_target_fires_no_more_often_than_promised(autocorrelation: float) -> None:
    """The bursts of each of eight canaries count, though their hours together have too many runs to show them."""
    canaries = [structs.replace(CHAT, name=f"chat-{number}", interval=EVERY) for number in range(8)]
    chains = [bursty_samples(0.02, autocorrelation, SAMPLES // 8, seed=number) for number in range(8)]
    pooled = [bad for samples in zip(*chains, strict=True) for bad in samples]
    every, learned_runs = EVERY / 8, round(2 * DAY / EVERY) * 8
    runs = [
        a_run(
            run_id=str(number),
            canary=canaries[number % 8].name,
            started=MIDNIGHT + number * every,
            kind=OutcomeKind.FAILED if bad else OutcomeKind.OK,
        )
        for number, bad in enumerate(pooled[:learned_runs])
    ]
    rule = {"detector": {**ERRORS["detector"], "false_pages": "1 per 1d"}, "per": "target"}
    [learned] = learn_from_rollups(runs, *canaries, **rule).values()
    assert isinstance(learned, LearnedRate)
    value = ScopeValue("target", CHAT.target, tuple(canaries))
    detector = Rule.model_validate(rule).detector.for_stream(value.stream(learned))
    assert isinstance(detector, Cusum)

    later = pooled[learned_runs:]
    runs_between = days_to_fire(detector, iter(later)) * DAY / EVERY * len(later) / SAMPLES

    assert runs_between > 5 / 7 * DAY / every
