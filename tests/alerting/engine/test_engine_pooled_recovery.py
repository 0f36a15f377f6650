"""The end of an outage that a pooled alert was notified of is one resolve, and the next outage is a new alert."""

import random
from typing import Any

import pytest

from streamcanary.alerting.engine.inputs import SilenceCreated
from streamcanary.model.alerts.silence import Silence
from support.alerting.pooled import PooledHarness, fleet

SPIKE = {"detector": {"type": "spike"}, "per": ["canary", "target"], "labels": {"severity": "page"}}
NORMAL = 0.02
"""The rate of failures that the rule calls normal."""


def a_target_of_eight() -> PooledHarness:
    """Return a harness of eight canaries of a target with the rule ``spike``."""
    return PooledHarness(fleet("abcdefgh"), SPIKE, group_wait=30, group_interval=300)


def send(harness: PooledHarness, *rounds: str) -> list[tuple[str, list[str]]]:
    """Process ``rounds`` of runs, and deliver what is due after each; return what is sent."""
    sent = []
    for written in rounds:
        harness.rounds(written)
        sent += harness.notified()
    return sent


def at_random(rounds: int, seed: int, **rates: float) -> list[str]:
    """Return ``rounds`` of runs of eight canaries: those in ``rates`` fail with that probability, others ``NORMAL``."""
    chance = random.Random(seed)  # noqa: S311 # a simulation
    return [
        "".join(name.upper() if chance.random() < rates.get(name, NORMAL) else name for name in "abcdefgh")
        for _ in range(rounds)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_an_outage_of_a_target_is_one_trigger_and_one_resolve(seed: int) -> None:
    """Failures that are normal, soon after the target has recovered, are no further alert of its canaries."""
    harness = a_target_of_eight()
    assert [("trigger", ["target openai"])] == send(harness, *["ABCDEFGH"] * 20)
    assert [("resolve", ["target openai"])] == send(harness, *at_random(80, seed))
    assert [] == harness.firing()


def test_the_next_outage_is_of_the_target_again() -> None:
    """Alerts of canaries that the first outage opened do not make the second one that of eight canaries."""
    harness = a_target_of_eight()
    for _ in range(2):
        assert [("trigger", ["target openai"])] == send(harness, *["ABCDEFGH"] * 20)
        assert [("resolve", ["target openai"])] == send(harness, *["abcdefgh"] * 90)


MANY = "abcdefghijklmnopqrstuvwxyz"
A_DOWN = "A" + MANY[1:]


def a_target_of_many() -> PooledHarness:
    """Return a harness of so many canaries that the pooled alert recovers though one of them still fails."""
    harness = PooledHarness(fleet(MANY), SPIKE, group_wait=30)
    assert [("trigger", ["target openai"])] == send(harness, *[MANY.upper()] * 10)
    return harness


def test_a_canary_that_never_recovered_is_notified_when_the_target_has() -> None:
    """The alert of a canary without a good run stays open, and is notified at its next failure."""
    harness = a_target_of_many()
    opened = harness.the_incident("a").opened
    sent = send(harness, *[A_DOWN] * 20)
    assert [("resolve", ["target openai"]), ("trigger", ["a"])] == sent
    assert (["a"], opened) == (harness.firing(), harness.the_incident("a").opened)


def test_a_canary_that_fails_again_is_notified_when_the_target_has_recovered() -> None:
    """The alert of a canary with three failures in a row stays open, though it had a good run during the outage."""
    harness = a_target_of_many()
    send(harness, "a" + MANY[1:].upper())
    opened = harness.the_incident("a").opened
    assert [("resolve", ["target openai"]), ("trigger", ["a"])] == send(harness, *[A_DOWN] * 25)
    assert (["a"], opened) == (harness.firing(), harness.the_incident("a").opened)


def test_a_canary_that_fails_in_part_fires_again() -> None:
    """The alert of a canary that is neither down nor well starts from zero, and is notified as soon as any other."""
    harness = a_target_of_many()
    send(harness, "a" + MANY[1:].upper())
    opened = harness.the_incident("a").opened
    sent = send(harness, *[A_DOWN, A_DOWN, MANY] * 12)
    assert [("resolve", ["target openai"]), ("trigger", ["a"])] == sent
    assert opened < harness.the_incident("a").opened


DETECTORS: dict[str, dict[str, Any]] = {
    "consecutive": {"type": "consecutive", "failures": 4},
    "ratio": {"type": "ratio", "over": "10m", "threshold": "20%", "min_samples": 5},
    "ratio in buckets": {"type": "ratio", "over": "1h", "threshold": "20%", "min_samples": 5},
    "burn_rate": {"type": "burn_rate", "objective": "95%"},
    "spike": {"type": "spike"},
}


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("stray", ["Abcdefgh", "abcdefgH"])
def test_a_stray_failure_after_the_recovery_is_no_alert(detector: str, stray: str) -> None:
    """With every detector, the alerts that the pooled one had muted are over when it is."""
    harness = PooledHarness(fleet("abcdefgh"), {**SPIKE, "detector": DETECTORS[detector]}, group_interval=300)
    assert [("trigger", ["target openai"])] == send(harness, *["ABCDEFGH"] * 40)
    assert ["target openai", *"abcdefgh"] == sorted(harness.firing(), key=len, reverse=True)
    sent = []
    while not sent:
        sent = send(harness, "abcdefgh")
    assert [("resolve", ["target openai"])] == sent
    assert ([], []) == (send(harness, stray, *["abcdefgh"] * 5), harness.firing())


@pytest.mark.parametrize("detector", DETECTORS)
def test_an_outage_of_a_canary_after_the_recovery_fires(detector: str) -> None:
    """With every detector, an alert that has recovered with the pooled one fires at the next outage of its canary."""
    harness = PooledHarness(fleet("abcdefgh"), {**SPIKE, "detector": DETECTORS[detector]}, group_interval=300)
    send(harness, *["ABCDEFGH"] * 40)
    while "target openai" in harness.firing():
        send(harness, "abcdefgh")
    assert ("trigger", ["a"]) in send(harness, *["Abcdefgh"] * 60)


def test_an_alert_that_waited_for_a_wider_one_recovers_with_it() -> None:
    """An alert that was due with a wider one, and is therefore in its group, has not been notified either."""
    canaries = (*fleet("abcdef"), *fleet("gh", "azure"))
    harness = PooledHarness(canaries, {**SPIKE, "per": ["canary", "target", "all"]}, group_wait=30, group_interval=300)
    assert [("trigger", ["all canaries"])] == send(harness, *["ABCDEFgh"] * 10)
    sent = []
    while not sent:
        sent = send(harness, "abcdefgh")
    assert [("resolve", ["all canaries"])] == sent
    assert ([], []) == (send(harness, "Abcdefgh", *["abcdefgh"] * 5), harness.firing())


@pytest.mark.parametrize("seed", range(3))
def test_one_broken_canary_among_normal_failures_is_notified_once(seed: int) -> None:
    """The pooled alert fires, too, but single failures of others say nothing new: one alert, and one resolve."""
    harness = a_target_of_eight()
    assert [("trigger", ["a"])] == send(harness, *at_random(80, seed, a=1.0))
    assert ["a", "target openai"] == harness.firing()


@pytest.mark.parametrize("seed", range(2))
def test_a_silenced_broken_canary_among_normal_failures_notifies_nothing(seed: int) -> None:
    """Single failures of other canaries do not break the silence."""
    harness = a_target_of_eight()
    silence = Silence(id="s", match=('canary="a"',), starts=harness.now, until=harness.now + 86400)
    harness.step(SilenceCreated(silence))
    assert [] == send(harness, *at_random(80, seed, a=1.0))


def test_a_pooled_alert_forgets_canaries_that_have_recovered() -> None:
    """Some time after seven of eight canaries have recovered, it names the one that still fails."""
    harness = a_target_of_eight()
    send(harness, *["ABCDEFGH"] * 20, *at_random(100, 1, a=1.0))
    incident = harness.the_incident("target openai")
    evidence = harness.state.detectors[incident.key].update_evidence(incident).evidence
    assert (["a"], 7) == ([member.name for member in evidence.failing], evidence.unaffected_count)
