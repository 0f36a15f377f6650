"""Takeovers of alerting: the successor knows everything, and nothing is sent twice."""

from streamcanary.store.errors import SessionLost
from support.alerting.builders import bad
from support.alerting.service import OUTAGE, RECOVERY, accepted_types, wait_until, webhooks_config
from support.alerting.shared import add_runs, running_replicas
from support.servers.receiver import FakeReceiver


async def test_owner_evaluates_the_runs_of_all_replicas() -> None:
    """The owner of alerts evaluates all runs, notifies, and deletes what it has evaluated; the other does nothing."""
    async with FakeReceiver() as hook, running_replicas(webhooks_config(hook=hook)) as (one, two):
        await one.take_over()
        add_runs(one.alerts, *OUTAGE)
        await hook.wait_for_deliveries(1)
        add_runs(one.alerts, *RECOVERY)
        await hook.wait_for_deliveries(2)
        await wait_until(lambda: not one.alerts.inputs)
        assert (["alert.fired", "alert.resolved"], 2) == (accepted_types(hook), len(hook.deliveries))
        assert ([("Errors", True), ("Errors", False)], []) == (one.transitions, two.transitions)


async def test_successor_resolves_what_its_predecessor_has_notified() -> None:
    """After a hand-over the successor notifies of nothing again, and sends the resolve."""
    async with FakeReceiver() as hook, running_replicas(webhooks_config(hook=hook)) as (one, two):
        await one.take_over()
        add_runs(one.alerts, *OUTAGE)
        await hook.wait_for_deliveries(1)
        await one.release()
        await two.take_over()
        add_runs(one.alerts, *RECOVERY)
        await hook.wait_for_deliveries(2)
        assert (["alert.fired", "alert.resolved"], 2) == (accepted_types(hook), len(hook.deliveries))


async def test_failures_before_and_after_a_takeover_are_counted_together() -> None:
    """Two failures that the predecessor evaluated and one that the successor does are three."""
    async with FakeReceiver() as hook, running_replicas(webhooks_config(hook=hook)) as (one, two):
        await one.take_over()
        add_runs(one.alerts, bad(0), bad(1))
        await wait_until(lambda: not one.alerts.inputs)
        one.lose()
        await two.take_over(fence=True)
        add_runs(one.alerts, bad(2))
        await hook.wait_for_deliveries(1)


async def test_commit_of_a_deposed_owner_changes_nothing() -> None:
    """A commit on its way during a takeover is refused: the successor evaluates the runs, and sends one page."""
    async with FakeReceiver() as hook, running_replicas(webhooks_config(hook=hook)) as (one, two):
        await one.take_over()
        await wait_until(lambda: one.alerting.is_owner)
        one.inputs.gate.clear()
        add_runs(one.alerts, *OUTAGE)
        await wait_until(lambda: one.inputs.waiting_commits)
        await two.take_over(fence=True)
        await hook.wait_for_deliveries(1)
        one.inputs.gate.set()
        await wait_until(lambda: one.lost_leases)
        assert [SessionLost] == [type(error) for error in one.lost_leases]
        assert (False, True) == (one.alerting.is_owner, two.alerting.is_owner)
        assert 1 == len(hook.deliveries)
