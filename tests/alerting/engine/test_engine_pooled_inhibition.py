"""Of the alerts of one rule about the same outage, one is notified: the wider one, or the one that was there before."""

from typing import Any

import pytest

from streamcanary.alerting.engine.inputs import ConfigReloaded, SilenceCreated, SilenceDeleted
from streamcanary.alerting.notify.delivery.result import Retry
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.faults import FaultKind
from support.alerting.builders import webhook_config
from support.alerting.pooled import THREE_IN_A_ROW, PooledHarness, fleet


def test_an_outage_of_a_target_is_one_notification() -> None:
    """The alert of the target is notified; those of its canaries, which fire later, are muted and say by what."""
    harness = PooledHarness()
    harness.rounds("ABCD")
    harness.wait(10)
    assert [("trigger", ["target openai"])] == harness.notified()
    harness.rounds("ABCD", "ABCD")
    harness.wait(300)
    assert (["a", "b", "c", "d", "target openai"], []) == (harness.firing(), harness.notified())
    harness.rounds("abcd", "abcd", "abcd")
    assert [("resolve", ["target openai"])] == harness.notified()
    assert [] == harness.firing()


def test_alerts_that_are_due_together_are_the_wider_one() -> None:
    """If a canary and its target fire before either was notified, only the target is in the notification."""
    harness = PooledHarness(group_wait=100)
    harness.rounds("A", "A", "A")
    assert ["a", "target openai"] == harness.firing()
    harness.wait(120)
    assert [("trigger", ["target openai"])] == harness.notified()
    harness.wait(120)
    assert [] == harness.notified()


def test_without_an_accepted_notification_the_narrower_alert_is_notified() -> None:
    """The alert of a canary waits a ``group_interval`` for that of its target to be accepted, and no longer."""
    harness = PooledHarness(group_wait=0)
    harness.rounds("A", "A", "A")
    harness.deliver(answer=Retry(reason="no answer"))
    harness.wait(70)
    assert ("update", ["a", "target openai"]) in harness.notified()


SPIKE: dict[str, Any] = {"detector": {"type": "spike"}, "per": ["canary", "target"]}


def broken_canary() -> PooledHarness:
    """Return a harness in which one of five canaries is down: its alert was notified, and then the target's fired."""
    harness = PooledHarness(fleet("abcde"), SPIKE)
    harness.rounds(*["Abcde"] * 7)
    assert [("trigger", ["a"])] == harness.notified()
    harness.rounds(*["Abcde"] * 10)
    assert ["a", "target openai"] == harness.firing()
    return harness


def test_one_broken_canary_is_not_notified_twice() -> None:
    """A pooled alert is muted while each of its failing canaries has an alert that was accepted before."""
    harness = broken_canary()
    harness.wait(300)
    assert [] == harness.notified()
    harness.rounds("ABcde")  # a single failure is normal
    harness.wait(70)
    assert [] == harness.notified()
    harness.rounds(*["ABcde"] * 4)
    harness.wait(70)
    assert [("update", ["target openai", "a"])] == harness.notified()


def test_one_broken_canary_is_one_resolve() -> None:
    """When the canary recovers, its alert resolves, and the pooled alert has never been notified."""
    harness = broken_canary()
    for _ in range(60):
        harness.rounds("abcde")
    assert ([], [("resolve", ["a"])]) == (harness.firing(), harness.notified())


def test_a_silenced_canary_notifies_through_no_pooled_alert() -> None:
    """A pooled alert is muted while all canaries that fail are silenced, and notified when another one fails."""
    harness = PooledHarness()
    silence = Silence(id="s", match=('canary="a"',), starts=harness.now, until=harness.now + 86400)
    harness.step(SilenceCreated(silence))
    harness.rounds("A", "A", "A")
    harness.wait(120)
    assert (["a", "target openai"], []) == (harness.firing(), harness.notified())
    harness.rounds("B", "B")
    harness.wait(20)
    assert [("trigger", ["target openai"])] == harness.notified()


def test_a_chain_of_scopes_is_one_notification() -> None:
    """With three scopes the widest alert inhibits those of targets, and these those of canaries."""
    canaries = (*fleet("ab"), *fleet("xy", "azure"))
    harness = PooledHarness(canaries, {**THREE_IN_A_ROW, "per": ["canary", "target", "all"]})
    harness.rounds("ABXY")
    harness.wait(10)
    assert [("trigger", ["all canaries"])] == harness.notified()
    harness.rounds("ABXY", "ABXY")
    harness.wait(300)
    assert [] == harness.notified()
    assert ["a", "all canaries", "b", "target azure", "target openai", "x", "y"] == harness.firing()


def test_a_wider_alert_that_goes_elsewhere_inhibits_nothing() -> None:
    """Each receiver of a muted alert has the alert that mutes it."""
    harness = PooledHarness(
        receivers={"hook": webhook_config(), "other": webhook_config()},
        routes=[{"match": ['scope="target"'], "receivers": ["other"]}, {"receivers": ["hook"]}],
    )
    harness.rounds("ABCD", "ABCD", "ABCD")
    harness.wait(10)
    assert [("trigger", ["target openai"])] == harness.notified("other")
    assert [("trigger", ["a", "b", "c", "d"])] == harness.notified("hook")


def test_rejected_canaries_explain_a_pooled_alert() -> None:
    """``TargetRejected`` of each failing canary inhibits a pooled alert about the same runs."""
    blames = ["config", "network", "provider"]
    harness = PooledHarness(rule={**THREE_IN_A_ROW, "per": "target", "blame": blames}, rules_on=True)
    harness.rounds("A", "A", kind=FaultKind.AUTH_FAILED)
    harness.wait(10)
    assert [("trigger", ["a"])] == harness.notified()
    harness.rounds("A", kind=FaultKind.AUTH_FAILED)
    harness.wait(70)
    assert (["a", "target openai"], []) == (harness.firing(), harness.notified())
    harness.rounds("B", "B", kind=FaultKind.STALLED)
    harness.wait(70)
    assert [("trigger", ["target openai"])] == harness.notified()


def test_egress_down_explains_pooled_alerts() -> None:
    """``CanaryEgressDown`` inhibits pooled alerts as it does those of canaries."""
    harness = PooledHarness()
    harness.rounds("AB", kind=FaultKind.CONNECT_FAILED)
    harness.rounds("AB", kind=FaultKind.CONNECT_FAILED)
    assert [("trigger", ["egress"])] == harness.notified()
    harness.rounds("AB", kind=FaultKind.CONNECT_FAILED)
    harness.wait(120)
    assert (["a", "b", "egress", "target openai"], []) == (harness.firing(), harness.notified())


@pytest.mark.parametrize("scopes", ["canary", "target"])
def test_a_scope_that_a_reload_removes_mutes_nothing_any_longer(scopes: str) -> None:
    """What a removed alert had muted is notified, and the removed one is resolved."""
    harness = PooledHarness()
    harness.rounds("ABCD")
    harness.wait(10)
    harness.notified()
    harness.rounds("ABCD", "ABCD")
    rule = {**THREE_IN_A_ROW, "per": scopes}
    harness.configure(PooledHarness(rule=rule).config, *fleet("abcd"))
    harness.step(ConfigReloaded())
    harness.wait(70)
    left = {"canary": ["a", "b", "c", "d"], "target": ["target openai"]}[scopes]
    assert left == harness.firing()
    actions = [action for action, _ in harness.notified()]
    assert (["update"] if scopes == "canary" else []) == actions
    gone = harness.the_incident("a" if scopes == "target" else "target openai")
    removed = "canary" if scopes == "target" else "target"
    assert f"per: {removed} was removed from the configuration of the rule" == gone.resolve_reason


def test_a_further_canary_that_fails_is_an_update_of_the_pooled_alert() -> None:
    """An alert that opens under a pooled one is not notified itself: the pooled one names its canary, once."""
    harness = PooledHarness(fleet("abcdefgh"), SPIKE)
    for _ in range(20):
        harness.rounds("ABcdefgh")
        harness.notified()
    assert ["a", "b"] == [one.name for one in harness.the_incident("target openai").evidence.failing]
    sent = []
    for _ in range(20):
        harness.rounds("ABCdefgh")
        while notification := harness.deliver("hook"):
            [pooled] = [member for member in notification.members if member.scope]
            sent.append((notification.action.value, [one.name for one in pooled.evidence.failing]))
    assert ["a", "b", "c", "target openai"] == harness.firing()
    assert [("update", ["a", "b", "c"])] == sent


def send(harness: PooledHarness, *rounds: str) -> list[tuple[str, list[str]]]:
    """Process ``rounds`` of runs, and deliver what is due after each; return what is sent."""
    sent = []
    for written in rounds:
        harness.rounds(written)
        sent += harness.notified()
    return sent


def test_a_pooled_alert_that_was_accepted_in_an_update_still_inhibits_during_the_next_one() -> None:
    """While the end of one outage is being sent, the canaries of another one stay muted."""
    canaries = (*fleet("abcd"), *fleet("wxyz", "azure"))
    harness = PooledHarness(canaries, SPIKE, group_by=["alert", "canary"], group_wait=0)
    assert [("trigger", ["target openai"])] == send(harness, *["ABCDwxyz"] * 3)
    assert [("update", ["target azure", "target openai"])] == send(harness, *["ABCDWXYZ"] * 10)
    sent = []
    for _ in range(20):
        harness.rounds("abcdWXYZ")
        harness.wait(5)  # with the update pending
        sent += harness.notified()
    assert [("update", ["target azure", "target openai"])] == sent


def test_one_broken_canary_that_recovers_is_notified_as_such() -> None:
    """While the window of a pooled alert still has failures of a canary that has recovered, strays say nothing new."""
    slow = {"type": "ratio", "over": "2h", "threshold": "5%", "min_samples": 10}
    harness = PooledHarness(fleet("abcdefgh"), {"detector": slow, "per": ["canary", "target"]})
    assert [("trigger", ["a"])] == send(harness, *["abcdefgh"] * 240, *["Abcdefgh"] * 110)
    assert ["a", "target openai"] == harness.firing()
    strays = ["aBcdefgh", *["abcdefgh"] * 29, "abcdefgH", *["abcdefgh"] * 29, "abcDefgh", *["abcdefgh"] * 29]
    assert [] == send(harness, *strays)
    assert ["a", "target openai"] == harness.firing()


def silenced_in_a_full_outage(**sections: Any) -> PooledHarness:
    """Return a harness with an outage of all but ``h``, of which the pooled alert was notified and then silenced."""
    harness = PooledHarness(fleet("abcdefgh"), SPIKE, **sections)
    harness.rounds(*["ABCDEFGh"] * 3)
    assert [("trigger", ["target openai"])] == harness.notified()
    silence = Silence(id="s", match=('scope="target"',), starts=harness.now, until=harness.now + 86400)
    harness.step(SilenceCreated(silence))
    return harness


@pytest.mark.parametrize("silence_early", [True, False])
def test_a_silence_of_a_notified_pooled_alert_is_for_the_canaries_that_it_named(silence_early: bool) -> None:
    """In a full outage, a silence of the pooled alert does not notify the alerts of the canaries that it named."""
    harness = silenced_in_a_full_outage()
    sent = []
    if not silence_early:
        harness.step(SilenceDeleted("s"))
        harness.rounds(*["ABCDEFGh"] * 20)
        sent += harness.notified()
        harness.step(SilenceCreated(Silence(id="s", match=('scope="target"',), starts=harness.now, until=9e9)))
    for _ in range(20):
        harness.rounds("ABCDEFGh")
        sent += harness.notified()
    assert ([*"abcdefg", "target openai"], []) == (harness.firing(), sent)
    for _ in range(20):
        harness.rounds("ABCDEFGH")
        sent += harness.notified()
    assert [("update", ["h", "target openai"])] == sent


def test_a_silenced_pooled_alert_does_not_hide_the_next_outage_of_a_canary() -> None:
    """A canary that has recovered and fails again is notified: its failures began after the last notification."""
    harness = silenced_in_a_full_outage(repeat_interval=3600)
    harness.rounds(*["ABCDEFGh"] * 20)
    harness.rounds(*["aBCDEFGh"] * 45)
    assert ([*"bcdefg", "target openai"], []) == (harness.firing(), harness.notified())
    sent = []
    for _ in range(20):
        harness.rounds("ABCDEFGh")
        sent += harness.notified()
    assert [("update", ["a", "target openai"])] == sent


@pytest.mark.parametrize("match", ['scope="target"', 'alert="Errors"'])
def test_a_silenced_pooled_alert_mutes_no_other(match: str) -> None:
    """A silence of the pooled alert alone hides no canary that fails next; one of the whole rule does."""
    harness = PooledHarness(fleet("abcdefgh"), SPIKE)
    for _ in range(20):
        harness.rounds("ABcdefgh")
        harness.notified()
    harness.step(SilenceCreated(Silence(id="s", match=(match,), starts=harness.now, until=harness.now + 86400)))
    sent = []
    for _ in range(20):
        harness.rounds("ABCdefgh")
        sent += harness.notified()
    assert (any("c" in subjects for _, subjects in sent)) == (match == 'scope="target"')
