"""Takeovers of alerting: the successor knows everything, and nothing is sent twice."""

import asyncio

import pytest

from streamcanary.alerting.service.shared import shared_alerting
from streamcanary.alerting.service.shared.input_feed import MAX_BATCH
from streamcanary.model import names
from streamcanary.model.alerts.pending_input import PendingInput
from streamcanary.model.replicas import Membership, Replica
from streamcanary.store.errors import SessionLost, StoreFailing
from support.alerting.builders import bad, good
from support.alerting.service import OUTAGE, RECOVERY, accepted_types, wait_until, webhooks_config
from support.alerting.shared import add_runs, running_replicas
from support.servers.receiver import FakeReceiver
from support.telemetry.in_memory import RecordedTelemetry


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


async def test_hand_over_waits_for_the_delivery_in_progress() -> None:
    """At a hand-over the notification that is being sent ends, and its result is committed: it is not sent again."""
    async with FakeReceiver("slow") as hook, running_replicas(webhooks_config(hook=hook)) as (one, two):
        await one.take_over()
        add_runs(one.alerts, *OUTAGE)
        await hook.wait_for_deliveries(1)
        releasing = asyncio.create_task(one.release())
        await asyncio.sleep(0)
        hook.finish_slow.set()
        await releasing
        await two.take_over()
        add_runs(one.alerts, *RECOVERY)
        await hook.wait_for_deliveries(2)
        assert ["alert.fired", "alert.resolved"] == [delivery.json["type"] for delivery in hook.deliveries]


@pytest.mark.parametrize("has_successor", [False, True])
async def test_last_replica_sends_what_is_pending_before_it_ends(has_successor: bool) -> None:
    """A hand-over leaves what is pending to the successor; without one it is sent first."""
    others = [Replica(session=9, name="other", generation=0, config="", joined=0.0)] if has_successor else []
    async with FakeReceiver("slow") as hook, running_replicas(webhooks_config(hook=hook), 1) as (one,):
        await one.take_over()
        await wait_until(lambda: one.alerting.is_owner)
        one.alerting.observe_membership(Membership(replicas=tuple(others)))
        add_runs(one.alerts, *OUTAGE)
        await hook.wait_for_deliveries(1)
        add_runs(one.alerts, *RECOVERY)
        await wait_until(lambda: len(one.transitions) == 2)
        releasing = asyncio.create_task(one.release())
        await asyncio.sleep(0)
        hook.finish_slow.set()
        await releasing
        sent = [delivery.json["type"] for delivery in hook.deliveries]
        assert (["alert.fired"] if has_successor else ["alert.fired", "alert.resolved"]) == sent


async def test_hand_over_stops_after_a_while_if_the_receiver_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that does not answer delays a hand-over by a bounded time; the successor sends with the same id."""
    monkeypatch.setattr(shared_alerting, "RELEASE_TIMEOUT", 0.1)
    async with FakeReceiver("hang") as hook, running_replicas(webhooks_config(hook=hook)) as (one, two):
        await one.take_over()
        add_runs(one.alerts, *OUTAGE)
        await hook.wait_for_deliveries(1)
        await one.release()
        await two.take_over()
        await hook.wait_for_deliveries(2)
        first, second = hook.deliveries
        assert first.id == second.id


async def test_lease_that_is_lost_and_gained_again_continues() -> None:
    """A replica that loses alerts and gains them again evaluates with what is stored."""
    async with FakeReceiver() as hook, running_replicas(webhooks_config(hook=hook), 1) as (one,):
        for runs in (OUTAGE, RECOVERY):
            await one.take_over()
            add_runs(one.alerts, *runs)
            await hook.wait_for_deliveries(1 if runs is OUTAGE else 2)
            await one.wait_for_results()
            one.lose()
        assert ["alert.fired", "alert.resolved"] == accepted_types(hook)


async def test_commit_in_doubt_is_repeated() -> None:
    """A commit whose answer is lost is repeated: nothing is evaluated, or sent, twice."""
    async with FakeReceiver() as hook, running_replicas(webhooks_config(hook=hook), 1) as (one,):
        one.inputs.lost_answers = 3
        await one.take_over()
        add_runs(one.alerts, *OUTAGE, *RECOVERY)
        await wait_until(lambda: not one.alerts.inputs and one.transitions)
        add_runs(one.alerts, bad(6), bad(7), bad(8))
        await hook.wait_for_deliveries(1)
        assert 1 == len(hook.deliveries)


async def test_nothing_is_sent_or_shown_while_commits_fail() -> None:
    """While the database fails, nothing is notified from memory: no alert, and no ``StoreFailing``."""
    async with FakeReceiver() as hook, running_replicas(webhooks_config(hook=hook), 1) as (one,):
        await one.take_over()
        await wait_until(lambda: one.alerting.is_owner)
        one.inputs.gate.clear()
        add_runs(one.alerts, *OUTAGE)
        await wait_until(lambda: one.inputs.waiting_commits)
        one.inputs.failure = StoreFailing("the database does not answer")
        one.inputs.lost_answers = 1
        one.inputs.gate.set()
        await wait_until(lambda: one.alerting.store_error)
        assert ((), [], []) == (one.alerting.open_incidents, one.transitions, hook.deliveries)
        one.inputs.failure = None
        await hook.wait_for_deliveries(1)
        await wait_until(lambda: one.alerting.open_incidents)
        assert (["Errors"], "") == ([one.rule for one in one.alerting.open_incidents], one.alerting.store_error)


async def test_state_is_loaded_once_the_database_answers() -> None:
    """An owner that cannot read the state waits for it, and sends nothing before."""
    async with FakeReceiver() as hook, running_replicas(webhooks_config(hook=hook)) as (one, two):
        await one.take_over()
        add_runs(one.alerts, *OUTAGE)
        await hook.wait_for_deliveries(1)
        await one.wait_for_results()
        one.lose()
        two.inputs.failure = StoreFailing("the database does not answer")
        await two.take_over(fence=True)
        add_runs(one.alerts, *RECOVERY)
        await wait_until(lambda: two.alerting.store_error)
        assert not two.alerting.is_owner
        two.inputs.failure = None
        await hook.wait_for_deliveries(2)
        assert ["alert.fired", "alert.resolved"] == accepted_types(hook)


async def test_input_that_cannot_be_read_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """A damaged input, and one of a later version, are logged and deleted; those after them are evaluated."""
    async with FakeReceiver() as hook, running_replicas(webhooks_config(hook=hook), 1) as (one,):
        one.alerts.add("run", b'{"run_id": 1}')
        one.alerts.add("silence_created", b'{"id": "x", "match": ["chat~"], "starts": 1, "until": 2}')
        one.alerts.add("diagnosis", b"\xff")
        one.alerts.inputs[4] = PendingInput(4, "moon_phase", b"{}")
        one.alerts._last_input = 4
        add_runs(one.alerts, *OUTAGE)
        await one.take_over()
        await hook.wait_for_deliveries(1)
        await wait_until(lambda: not one.alerts.inputs)
    logged = [vars(record) for record in caplog.records if record.message == "input of alerting cannot be read"]
    assert [1, 2, 3, 4] == [each["input"] for each in logged]
    assert "this version does not know its kind" == logged[-1]["error"]


async def test_backlog_is_evaluated_in_the_order_of_ids() -> None:
    """Thousands of inputs that have waited are evaluated in batches, in the order of their ids."""
    runs = [good(number) for number in range(2 * MAX_BATCH)]
    async with FakeReceiver() as hook, running_replicas(webhooks_config(hook=hook), 1) as (one,):
        add_runs(one.alerts, *runs, *(bad(len(runs) + number) for number in range(3)))
        await one.take_over()
        await hook.wait_for_deliveries(1)
        await wait_until(lambda: not one.alerts.inputs)
        assert 3 == hook.deliveries[0].json["alerts"][0]["evidence"]["bad"]


async def test_inputs_that_wait_are_counted(recorded: RecordedTelemetry) -> None:
    """While the database takes no commit, the number of all inputs is reported, also if it is more than one batch."""
    async with FakeReceiver() as hook, running_replicas(webhooks_config(hook=hook), 1) as (one,):
        await one.take_over()
        await wait_until(lambda: one.alerting.is_owner)
        one.inputs.gate.clear()
        add_runs(one.alerts, *(good(number) for number in range(MAX_BATCH + 7)))
        await wait_until(lambda: one.inputs.waiting_commits)
        assert MAX_BATCH + 7 == recorded.value(names.REPLICA_PENDING_INPUTS.name)
        one.inputs.gate.set()
        await wait_until(lambda: not one.alerts.inputs)
        await wait_until(lambda: recorded.value(names.REPLICA_PENDING_INPUTS.name) == 0)
