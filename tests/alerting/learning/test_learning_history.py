"""Recorded runs become the series of the rules that learn, and each learns its own baseline."""

from typing import Any

import pytest
from msgspec import structs

from streamcanary.alerting.engine.bindings import Bindings
from streamcanary.alerting.learning.baseline import LearnedBaseline, LearnedRate, LearnedValues
from streamcanary.alerting.learning.history import History
from streamcanary.model.canary import Canary
from streamcanary.model.outcome import Outcome, OutputSpeed
from support.alerting.builders import CHAT, NOON, a_run, alerts, bad, good
from support.alerting.histories import DAY, answer_times, bursty_samples

POEM = structs.replace(CHAT, name="poem")
LEARNS: dict[str, Any] = {"detector": {"type": "spike", "normal": "learned"}}


def learn(
    runs: list[Outcome], *canaries: Canary, since: dict[str, float] | None = None, **rule: Any
) -> dict[str, LearnedBaseline | None]:
    """Return what ``rule`` learns from ``runs``, by subject."""
    bindings = Bindings(alerts(rules={"R": rule or LEARNS}).all_rules, "default", canaries or (CHAT,))
    history = History(bindings.learning, canaries or (CHAT,), since or {})
    history.observe_all(runs)
    subjects = {binding.key: binding.scope_value.subject for binding in bindings.learning}
    return {subjects[key]: baseline for key, baseline in history.learn(NOON)}


def counts(baseline: LearnedBaseline | None) -> tuple[int, int]:
    """Return the numbers of bad samples and of all of a base rate."""
    assert isinstance(baseline, LearnedRate)
    return baseline.bad, baseline.total


def failing_runs(rate: float, count: int, canary: str = "chat", seed: int = 0) -> list[Outcome]:
    """Return runs of ``canary`` that fail at ``rate``."""
    samples = bursty_samples(rate, 0.0, count, seed)
    return [structs.replace((bad if failed else good)(number), canary=canary) for number, failed in enumerate(samples)]


def test_the_base_rate_of_a_canary() -> None:
    """The samples are those of the rule, and the baseline has the time at which it was learned."""
    runs = failing_runs(0.02, 1000)
    baseline = learn(runs)["chat"]

    assert counts(baseline) == (sum(run.fault is not None for run in runs), 1000)
    assert baseline is not None
    assert baseline.learned_at == NOON


def test_failures_from_before_the_first_success_are_left_out() -> None:
    """The store keeps failed runs longer than others: those without successful runs around them are no rate."""
    failures = [bad(number) for number in range(500)]

    assert counts(learn([*failures, *failing_runs(0.0, 500)])["chat"]) == (0, 500)


def test_runs_of_a_former_request_are_left_out() -> None:
    """Only runs count that started since the canary sends the request that it sends now."""
    runs = failing_runs(0.0, 800)

    assert counts(learn(runs, since={"chat": runs[500].started})["chat"]) == (0, 300)


def test_runs_under_a_former_name_count() -> None:
    """A canary has learned from its runs under the name that it had before."""
    renamed = structs.replace(CHAT, name="chat-mini", renamed_from="chat")

    assert counts(learn(failing_runs(0.0, 300), renamed)["chat-mini"]) == (0, 300)


def test_runs_of_a_canary_with_the_former_name_of_another_are_its_own() -> None:
    """A new canary under the name that another one had before keeps its runs for itself."""
    renamed = structs.replace(CHAT, name="chat-mini", renamed_from="chat")
    learned = learn(failing_runs(0.0, 300), renamed, structs.replace(CHAT, renamed_from="other"))

    assert learned["chat-mini"] is None
    assert counts(learned["chat"]) == (0, 300)


def test_a_pooled_rule_learns_from_all_its_canaries() -> None:
    """A rule over a target learns from the runs of its canaries together, and each canary from its own."""
    both = [failing_runs(0.01, 500), failing_runs(0.03, 500, "poem", seed=1)]
    runs = [run for pair in zip(*both, strict=True) for run in pair]
    learned = learn(runs, CHAT, POEM, per=["canary", "target"], **LEARNS)

    failed = [sum(run.fault is not None for run in some) for some in both]
    assert counts(learned["chat"]) == (failed[0], 500)
    assert counts(learned["poem"]) == (failed[1], 500)
    assert counts(learned["target openai"]) == (sum(failed), 1000)


def test_an_outage_of_a_whole_target_is_not_normal_for_it() -> None:
    """An outage of all canaries of a target is left out of the pooled rate, too."""
    both = [[*failing_runs(0.0, 400), *map(bad, range(60)), *failing_runs(0.0, 400)] for _ in range(2)]
    both[1] = [structs.replace(run, canary="poem") for run in both[1]]
    runs = [run for pair in zip(*both, strict=True) for run in pair]

    assert counts(learn(runs, CHAT, POEM, per="target", **LEARNS)["target openai"])[0] == 0


def test_runs_of_unknown_canaries_are_ignored() -> None:
    """Runs of canaries that the configuration does not have teach nothing."""
    assert learn(failing_runs(0.0, 500, "gone")) == {"chat": None}


def test_a_pooled_rule_about_times_has_a_limit_for_each_canary() -> None:
    """Times of a slow canary are compared with its own limit, also in a rule over a target."""
    quick = [a_run(started=NOON + at, time_to_first_token=value) for at, value in answer_times(1.2, every=120.0)]
    slow = [
        structs.replace(run, canary="poem", time_to_first_token=10 * (run.time_to_first_token or 0)) for run in quick
    ]
    runs = [run for pair in zip(quick, slow, strict=True) for run in pair]
    learned = learn(runs, CHAT, POEM, per="target", measure="first_token", detector={"type": "shift"})["target openai"]

    assert isinstance(learned, LearnedValues)
    assert learned.limit("poem", NOON) == pytest.approx(10 * (learned.limit("chat", NOON) or 0))
    assert learned.days == pytest.approx(1.2, abs=0.01)


def test_a_speed_that_is_slower_is_worse() -> None:
    """An output speed is learned as the time for a token, so that its limit is the speed that 90 % exceed."""
    runs = [
        a_run(started=NOON + at, output_speed=OutputSpeed(tokens_per_second=10 / value, seconds=1.0))
        for at, value in answer_times(1.2, every=120.0)
    ]
    learned = learn(runs, measure="tokens_per_second", detector={"type": "shift"})["chat"]

    assert isinstance(learned, LearnedValues)
    limit = learned.limit("chat", NOON)
    assert limit is not None
    assert 1 / limit == pytest.approx(10 / 0.734, rel=0.1)


def test_the_limit_depends_on_the_factor_to_detect() -> None:
    """Times that hardly vary have a limit between the usual time and the one to detect: 0.5 s and 1 s, or 2 s."""
    runs = [a_run(started=NOON + at, time_to_first_token=0.5) for at, _ in answer_times(1.2, every=120.0)]
    limits = []
    for worse in ("2x", "4x"):
        learned = learn(runs, measure="first_token", detector={"type": "shift", "worse": worse})["chat"]
        assert isinstance(learned, LearnedValues)
        limits.append(learned.limit("chat", NOON))

    assert limits == pytest.approx([0.5 * 2**0.5, 1.0])


def test_times_with_lag_of_the_daemon_are_left_out() -> None:
    """A value that the daemon measured late does not show what is usual; a lag of a few ms does not matter."""
    slow = OutputSpeed(tokens_per_second=2.0, seconds=1.0)
    quick = OutputSpeed(tokens_per_second=20.0, seconds=1.0)
    late = [
        a_run(started=NOON + at, time_to_first_token=3.0, output_speed=slow, lag=2.5)
        for at, _ in answer_times(1.2, every=120.0)
    ]
    usual = [
        structs.replace(run, time_to_first_token=0.05, output_speed=quick, lag=0.009, started=run.started + 60)
        for run in late
    ]
    runs = [run for pair in zip(late, usual, strict=True) for run in pair]
    for measure, limit in (("first_token", 0.05 * 2**0.5), ("tokens_per_second", 2**0.5 / 20)):
        learned = learn(runs, measure=measure, detector={"type": "shift"})["chat"]
        assert isinstance(learned, LearnedValues)
        assert learned.limit("chat", NOON) == pytest.approx(limit)


def test_a_day_of_runs_is_enough() -> None:
    """The first evaluation after a day finds enough times."""
    runs = [a_run(started=NOON + at, time_to_first_token=value) for at, value in answer_times(0.98, every=60.0)]

    assert learn(runs, measure="first_token", detector={"type": "shift"})["chat"] is not None
    assert runs[-1].started - runs[0].started < DAY
