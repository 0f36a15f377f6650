"""Pooled alerts: which runs they evaluate, what they say about their canaries, and how they outlive changes."""

import msgspec
import pytest

from streamcanary.alerting.engine.inputs import ConfigReloaded, DiagnosisFinished, Started
from streamcanary.alerting.notify.message import render_alert
from streamcanary.alerting.notify.text_format import facts
from streamcanary.model.alerts.incident import MAX_FAILING, MemberCounts
from support.alerting.builders import alerts
from support.alerting.pooled import THREE_IN_A_ROW, PooledHarness, fleet

SHARE = {"detector": {"type": "ratio", "over": "20 runs", "threshold": "30%", "min_samples": 8}, "per": "target"}


def test_the_runs_of_all_canaries_are_one_series() -> None:
    """Three failures in a row fire, whichever canaries of the target they are of; a run of another target is none."""
    harness = PooledHarness((*fleet("abc"), *fleet("xy", "azure")))
    harness.rounds("ABx")
    assert [] == harness.firing()
    harness.rounds("C")
    assert ["target openai"] == harness.firing()
    harness.rounds("abc")
    assert [] == harness.firing()


def test_a_pooled_alert_names_who_fails_and_who_does_not() -> None:
    """The evidence counts the bad runs of each canary since it began, the worst first, and names those without."""
    harness = PooledHarness(rule=SHARE)
    harness.rounds("abcd", "ABcd", "Abcd")
    incident = harness.the_incident("target openai")
    assert (None, "target", 4) == (incident.canary, incident.scope, incident.member_count)
    expected = (MemberCounts("a", 2, 2), MemberCounts("b", 1, 1))
    assert (expected, 2) == (incident.evidence.failing, incident.evidence.failing_count)
    assert (("c", "d"), 2) == (incident.evidence.unaffected, incident.evidence.unaffected_count)


def test_the_texts_of_a_pooled_alert() -> None:
    """The title counts the failing canaries, and names one or two; the details name the others."""
    harness = PooledHarness(rule=SHARE)
    harness.rounds("abcd", "ABcd", "Abcd")
    alert = render_alert(harness.the_incident("target openai"), harness.now)
    expected = "Errors: target openai failing (2 of 4 canaries: a, b; 3 of last 9 runs, stalled)"
    assert expected == alert.summary
    texts = {fact.title: fact.text for fact in facts(alert)}
    assert "2 of 4: a (2 of 2 runs), b (1 of 1 runs)" == texts["Failing canaries"]
    assert "c, d" == texts["Unaffected"]
    assert ("target", 4) == (alert.to_dict()["scope"], alert.to_dict()["members"])
    assert [{"canary": "a", "bad": 2, "total": 2}, {"canary": "b", "bad": 1, "total": 1}] == alert.to_dict()[
        "evidence"
    ]["failing"]


def test_the_evidence_goes_on_while_the_alert_fires() -> None:
    """A canary that fails later is named in the next notification."""
    harness = PooledHarness(rule={**SHARE, "labels": {}}, repeat_interval=120)
    harness.rounds("abcd", "ABcd", "Abcd")
    harness.wait(30)
    assert [("trigger", ["target openai"])] == harness.notified()
    harness.rounds("abCD", "ABCD", "abcd")
    harness.wait(60)
    harness.deliver()
    names = [member.name for member in harness.the_incident("target openai").evidence.failing]
    assert ["a", "b", "c", "d"] == sorted(names)


def test_a_failure_that_is_over_is_no_evidence() -> None:
    """A canary that failed before the evidence began is not among those that fail."""
    harness = PooledHarness()
    harness.rounds("Abcd", "abcd", "bcdB", "C", "D")
    assert ["b", "c", "d"] == [one.name for one in harness.the_incident("target openai").evidence.failing]


def test_the_diagnosis_of_a_pooled_alert_says_of_which_canary_it_is() -> None:
    """The preflight runs after the first failure of a canary; a pooled alert names it."""
    harness = PooledHarness()
    harness.rounds("ABC")
    harness.step(DiagnosisFinished("b", "tcp: refused"))
    assert "b: tcp: refused" == harness.the_incident("target openai").evidence.diagnosis


def test_many_canaries_are_counted_up_to_a_limit() -> None:
    """The row of a pooled alert stays small: of very many failing canaries some are counted, which it says."""
    names = [chr(0x100 + number) for number in range(0, 2 * 70, 2)]
    canaries = tuple(
        msgspec.structs.replace(one, name=f"c{number}") for number, one in enumerate(fleet("".join(names)))
    )
    harness = PooledHarness(canaries)
    harness.now += 30
    for canary in canaries:
        harness.run(canary.name, bad=True)
    incident = harness.the_incident("target openai")
    (state,) = [harness.state.detectors[incident.key]]
    evidence = state.update_evidence(incident).evidence
    assert (MAX_FAILING, True) == (evidence.failing_count, evidence.has_more_failing)
    assert len(msgspec.json.encode(state)) < 8000


def test_healthy_canaries_write_nothing() -> None:
    """Good runs change no row of a rule, pooled or not."""
    harness = PooledHarness(rule={"detector": {"type": "spike"}, "per": ["canary", "target", "all"]})
    harness.rounds("abcd")
    before = harness.state.detectors
    harness.rounds("abcd", "abcd")
    assert before is harness.state.detectors


@pytest.mark.parametrize("hot", [True, False])
def test_a_changed_membership_keeps_the_alert(hot: bool) -> None:
    """Canaries that are added, removed or renamed leave the alert open; those removed are not named any longer."""
    harness = PooledHarness()
    harness.rounds("ABC")
    before = harness.the_incident("target openai")
    renamed = msgspec.structs.replace(fleet("z")[0], renamed_from="b")
    harness.configure(harness.config, *fleet("ae"), renamed, *fleet("g"))
    harness.step(ConfigReloaded() if hot else Started())
    harness.rounds("Z")
    after = harness.the_incident("target openai")
    assert (before.key, before.opened, None) == (after.key, after.opened, after.resolved)
    evidence = harness.state.detectors[after.key].update_evidence(after).evidence
    assert {"a": 1, "z": 2} == {one.name: one.bad for one in evidence.failing}
    assert 4 == after.member_count


def test_a_renamed_rule_keeps_its_pooled_alert() -> None:
    """The former name of the rule is in the key of its pooled alerts."""
    harness = PooledHarness()
    harness.rounds("ABC")
    before = harness.the_incident("target openai")
    rule = {**THREE_IN_A_ROW, "renamed_from": "Errors"}
    harness.configure(alerts(rules={"Faults": rule}, group_by=["alert"]), *fleet("abcd"))
    harness.step(Started())
    after = harness.the_incident("target openai")
    assert ("Faults", before.key, None) == (after.rule, after.key, after.resolved)


def test_a_target_with_one_canary_left_has_no_alert_of_its_own() -> None:
    """A pooled alert resolves when only one canary of its scope is left, which has an alert itself; it says why."""
    harness = PooledHarness()
    harness.rounds("ABC")
    harness.configure(harness.config, *fleet("a"))
    harness.step(ConfigReloaded())
    assert "narrower alert has the same canaries" in str(harness.the_incident("target openai").resolve_reason)


def test_a_restart_continues_pooled_evidence() -> None:
    """The counts of canaries and the state of the detector are in the store."""
    harness = PooledHarness()
    harness.rounds("AB")
    harness.crash()
    harness.step(Started())
    harness.rounds("C")
    assert ["a", "b", "c"] == [one.name for one in harness.the_incident("target openai").evidence.failing]
