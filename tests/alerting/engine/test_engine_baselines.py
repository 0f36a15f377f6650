"""What was learned about a binding is part of the state: detectors depend on it, and it survives a restart."""

from typing import Any

import msgspec
import pytest

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.inputs import BaselinesLearned, ConfigReloaded, Started
from streamcanary.alerting.learning.baseline import LearnedBaseline, LearnedRate, LearnedValues, RequestSince
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome
from support.alerting.builders import CHAT, NOON, EngineHarness, a_run, alerts, bad, pagerduty_config

ABOVE = LearnedRate(bad=280, total=2880, upper_bound=0.108, autocorrelation=0.05)
VALUES = LearnedValues(
    limits={"chat": (1.0,)}, days=1.0, above=ABOVE, quantiles=tuple(0.4 + 0.035 * number for number in range(20))
)
SHIFT: dict[str, Any] = {"measure": "first_token", "detector": {"type": "shift"}}
ASKS_PONG = msgspec.structs.replace(CHAT, request_digest="pong")
ASKS_POEM = msgspec.structs.replace(CHAT, request_digest="poem")


def shift_config(**changes: Any) -> AlertsConfig:
    """Return a configuration with one rule ``Slower`` and the detector ``shift``."""
    return alerts(rules={"Slower": {**SHIFT, **changes}})


def slow(number: int) -> Outcome:
    """Build a run whose first token took three seconds."""
    return a_run(number, time_to_first_token=3.0)


def quick(number: int) -> Outcome:
    """Build a run whose first token took half a second."""
    return a_run(number, time_to_first_token=0.5)


def started(canary: Canary = CHAT, config: AlertsConfig | None = None) -> EngineHarness:
    """Return an engine that has started."""
    harness = EngineHarness(config or shift_config(), canary)
    harness.step(Started())
    return harness


def learn(harness: EngineHarness, baseline: LearnedBaseline | None = VALUES) -> str:
    """Let the binding of ``Slower`` learn ``baseline``; return its key."""
    [binding] = harness.engine.bindings.learning
    harness.step(BaselinesLearned({binding.key: baseline}))
    return binding.key


def test_nothing_is_evaluated_before_anything_was_learned() -> None:
    """Without a baseline slow runs are neutral samples: nothing fires, and no detector state is kept."""
    harness = started()
    harness.observe(*[slow] * 50)
    assert (harness.open_incidents, dict(harness.state.detectors)) == ([], {})


def test_slow_answers_fire_and_usual_ones_resolve() -> None:
    """Answers slower than the learned limit fire, with the measured and the usual time, and usual ones resolve."""
    harness = started()
    learn(harness)
    harness.observe(*[quick] * 5, *[slow] * 12)
    [incident] = harness.open_incidents
    assert incident.evidence.message == "first_token 3s, usually 1s or less"
    assert incident.evidence.bad == incident.evidence.total
    harness.observe(*[quick] * 60)
    assert harness.open_incidents == []


def test_a_single_slow_answer_does_not_fire() -> None:
    """One answer of three seconds among usual ones, every ten runs, fires nothing in 1,000 runs."""
    harness = started()
    learn(harness)
    harness.observe(*([slow] + [quick] * 9) * 100)
    assert harness.open_incidents == []


def test_failed_runs_are_no_samples_of_a_time() -> None:
    """An outage neither fires a rule about a time, nor resolves it."""
    harness = started()
    learn(harness)
    harness.observe(*[slow] * 12, *[bad] * 50)
    assert len(harness.open_incidents) == 1


def test_a_baseline_survives_a_restart() -> None:
    """After a restart the rule evaluates at once, with the stored baseline."""
    harness = started()
    learn(harness)
    harness.crash()
    harness.step(Started())
    harness.observe(*[slow] * 12)
    assert len(harness.open_incidents) == 1


def test_a_baseline_stays_until_another_is_learned() -> None:
    """A later baseline replaces the one before; a history with too few samples, as of a lost store, does not."""
    harness = started()
    key = learn(harness)
    later = msgspec.structs.replace(VALUES, learned_at=NOON)
    learn(harness, later)
    assert harness.state.baselines[key] == later
    learn(harness, None)
    assert harness.state.baselines[key] == later


def test_a_higher_limit_takes_effect() -> None:
    """The same answers are usual after a baseline was learned whose limit is higher."""
    harness = started()
    learn(harness)
    learn(harness, msgspec.structs.replace(VALUES, limits={"chat": (5.0,)}))
    harness.observe(*[slow] * 50)
    assert harness.open_incidents == []


def test_baselines_of_other_configurations_are_ignored() -> None:
    """A baseline of a binding that a reload has removed in the meantime is not stored."""
    harness = started()
    harness.step(BaselinesLearned({"0" * 32: VALUES}))
    assert "0" * 32 not in harness.state.baselines


def test_another_request_is_another_distribution() -> None:
    """When a canary sends another request, its baseline is removed, and only later runs are normal for it."""
    harness = started(ASKS_PONG)
    key = learn(harness)
    harness.now = NOON + 500
    harness.configure(shift_config(), ASKS_POEM)
    harness.step(ConfigReloaded())
    assert dict(harness.state.baselines) == {"canary:chat": RequestSince(digest="poem", since=NOON + 500)}
    assert key not in harness.stored_rows["baselines"]


def test_the_same_request_after_a_restart_keeps_the_baseline() -> None:
    """A restart or reload with the same request changes nothing of what was learned."""
    harness = started(ASKS_PONG)
    key = learn(harness)
    harness.crash()
    harness.now = NOON + 500
    harness.configure(shift_config(), ASKS_PONG)
    harness.step(Started())
    assert dict(harness.state.baselines) == {key: VALUES, "canary:chat": RequestSince(digest="pong")}


def test_a_renamed_canary_keeps_its_baseline() -> None:
    """A baseline, and the limits in it, are those of the canary under its new name."""
    harness = started()
    learn(harness)
    renamed = msgspec.structs.replace(CHAT, name="chat-mini", renamed_from="chat")
    harness.configure(shift_config(), renamed)
    harness.step(ConfigReloaded())
    harness.observe(*[msgspec.structs.replace(slow(number), canary="chat-mini") for number in range(12)])
    assert [incident.canary for incident in harness.open_incidents] == ["chat-mini"]


@pytest.mark.parametrize(
    "config",
    [shift_config(enabled=False), alerts(), shift_config(match=['canary="other"'])],
    ids=["disabled", "removed", "no longer matches"],
)
def test_what_nobody_uses_is_removed(config: AlertsConfig) -> None:
    """Baselines of rules that are gone, and what was known about the requests of their canaries, are removed."""
    harness = started()
    learn(harness)
    harness.configure(config, CHAT)
    harness.step(ConfigReloaded())
    assert dict(harness.state.baselines) == {}


def test_a_baseline_with_too_little_difference_is_not_used() -> None:
    """If the values vary so much that the factor cannot be recognised, the detector is that for usual values."""
    harness = started()
    wide = msgspec.structs.replace(VALUES, quantiles=tuple(0.01 * 1.3**number for number in range(20)))
    learn(harness, wide)
    harness.observe(*[slow] * 20)
    assert len(harness.open_incidents) == 1


@pytest.mark.parametrize("limits", [(), (0.0,), (1.0, 2.0), (1.0, 2.0, 3.0, 4.0, 5.0)])
def test_limits_that_are_impossible_are_none(limits: tuple[float, ...]) -> None:
    """A damaged row makes samples neutral, and nothing fails."""
    harness = started()
    learn(harness, msgspec.structs.replace(VALUES, limits={"chat": limits}))
    harness.observe(*[slow] * 20)
    assert harness.open_incidents == []


def test_an_outage_that_goes_on_does_not_become_normal() -> None:
    """While the alert fires, for two weeks, the limit stays, though the history of slow answers grows each day."""
    harness = started()
    learn(harness)
    harness.observe(*[slow] * 12)
    while_slow = msgspec.structs.replace(VALUES, limits={"chat": (5.0,)})
    for days in range(14):
        harness.now = NOON + days * 86400.0
        learn(harness, while_slow)
        harness.observe(*[slow] * 60)
    assert len(harness.open_incidents) == 1
    harness.now = NOON + 15 * 86400.0
    learn(harness, while_slow)
    harness.observe(*[slow] * 60)
    assert harness.open_incidents == []


def test_the_resolve_condition_of_an_open_alert_follows_what_is_learned() -> None:
    """If something else is learned while an alert has fired for two weeks, its text has the new number of good runs."""
    harness = started(config=alerts(rules={"Errors": {"detector": {"type": "spike"}}}))
    harness.observe(*[bad] * 12)
    [before] = harness.open_incidents
    harness.now += 15 * 86400.0
    learn(harness, LearnedRate(bad=300, total=20_000, upper_bound=0.017, autocorrelation=0.4))
    [incident] = harness.open_incidents
    [binding] = harness.engine.bindings.learning
    detector = harness.engine.bindings.with_baseline(binding, harness.state.baselines)
    assert incident.resolve_condition.split()[0] == detector.resolve_condition.split()[0]
    assert incident.resolve_condition != before.resolve_condition


def test_a_learned_base_rate_sets_the_threshold() -> None:
    """A canary that seldom fails is noticed after fewer failures than one whose base rate is not known."""
    fired_after = []
    for baseline in (None, LearnedRate(bad=5, total=20_000, upper_bound=0.0006, autocorrelation=0.0)):
        config = alerts(rules={"Errors": {"detector": {"type": "spike", "normal": "learned"}}})
        harness = started(config=config)
        learn(harness, baseline)
        while not harness.open_incidents:
            harness.observe(bad)
        fired_after.append(harness.run_count)
    assert fired_after == [5, 3]


def test_bursts_that_were_learned_raise_the_threshold() -> None:
    """A canary whose failures come in bursts fires after more failures in a row."""
    fired_after = []
    for autocorrelation in (0.0, 0.4):
        harness = started(config=alerts(rules={"Errors": {"detector": {"type": "spike"}}}))
        learn(harness, LearnedRate(bad=300, total=20_000, upper_bound=0.017, autocorrelation=autocorrelation))
        while not harness.open_incidents:
            harness.observe(bad)
        fired_after.append(harness.run_count)
    assert fired_after[1] > fired_after[0]


def test_the_resolve_condition_is_that_of_the_learned_detector() -> None:
    """The notification says how many good runs resolve the alert with the threshold that was learned."""
    harness = started()
    learn(harness)
    harness.observe(*[slow] * 12)
    [incident] = harness.open_incidents
    [binding] = harness.engine.bindings.learning
    learned = harness.engine.bindings.with_baseline(binding, harness.state.baselines)
    assert incident.resolve_condition.split()[:3] == learned.resolve_condition.split()[:3]


def test_an_alert_of_a_former_request_resolves() -> None:
    """An alert about slow answers resolves by answers to another request, though nothing is learned about it yet."""
    harness = started(ASKS_PONG)
    learn(harness)
    harness.observe(*[slow] * 12)
    assert len(harness.open_incidents) == 1
    harness.configure(shift_config(), ASKS_POEM)
    harness.step(ConfigReloaded())
    harness.observe(*[slow] * 40)
    assert harness.open_incidents == []


def test_an_alert_that_a_lost_store_may_have_opened_is_resolved() -> None:
    """After a data loss a receiver that drops unknown alerts gets the resolve, though nothing is learned any more."""
    config = alerts(rules={"Slower": SHIFT}, receivers={"oncall": pagerduty_config()})
    harness = EngineHarness(config)
    harness.step(Started())
    harness.observe(*[quick] * 60)
    harness.advance_one_minute()
    assert harness.deliver_all("oncall") == [("resolve", "Slower")]


def test_a_pooled_rule_compares_each_canary_with_its_own_limit() -> None:
    """A rule over a target fires when its canaries are slower than each usually is, and a new canary is neutral."""
    poem, new = (msgspec.structs.replace(CHAT, name=name) for name in ("poem", "new"))
    harness = EngineHarness(shift_config(per="target"), CHAT, poem, new)
    harness.step(Started())
    learn(harness, msgspec.structs.replace(VALUES, limits={"chat": (1.0,), "poem": (10.0,)}))

    def run(canary: str, seconds: float) -> None:
        number = harness.run_count
        harness.observe(a_run(number, run_id=f"{canary}-{number}", canary=canary, time_to_first_token=seconds))

    for _ in range(40):
        run("chat", 0.5)
        run("poem", 6.0)
        run("new", 500.0)
    assert harness.open_incidents == []
    for _ in range(12):
        run("chat", 1.5)
        run("poem", 12.0)
    [incident] = harness.open_incidents
    assert incident.subject == "target openai"
    assert {member.name for member in incident.evidence.failing} == {"chat", "poem"}
