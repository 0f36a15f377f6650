"""Decisions about time at the owner of alerting: none is made while there may be runs that it has not evaluated."""

from typing import Any

from streamcanary.alerting.service.shared.shared_alerting import INPUT_DELAY
from streamcanary.model.replicas import Membership, Ownership, shard_of
from streamcanary.store.errors import StoreFailing
from support.alerting.builders import CHAT, NOON, alerts, good
from support.alerting.service import wait_until
from support.alerting.shared import Replica, add_runs, running_replicas
from support.clock import ManualClock

NO_DATA: dict[str, Any] = {"rules": {"NoData": {}}, "receivers": {}}
LATEST = 3 * CHAT.interval + CHAT.timeout + 5 + INPUT_DELAY
"""Seconds after the last run at which ``NoData`` has fired."""


async def tick(replica: Replica, clock: ManualClock, seconds: float) -> None:
    """Advance the clock in steps that are shorter than a gap, with a tick after each, if one may be made."""
    for _ in range(round(seconds / 5)):
        clock.advance(5)
        replica.alerting.wake()
        await replica.inputs.wait_for_reads(2)


def rules(replica: Replica) -> list[str]:
    """Return the rules of the open incidents."""
    return [incident.rule for incident in replica.alerting.open_incidents]


async def test_missing_runs_are_noticed() -> None:
    """``NoData`` fires when the runs of a canary are missing, and not before they may have come late."""
    clock = ManualClock(NOON)
    async with running_replicas(alerts(**NO_DATA), 1, clock=clock) as (one,):
        await one.take_over()
        add_runs(one.alerts, good())
        await tick(one, clock, LATEST - INPUT_DELAY)
        assert [] == rules(one)
        await tick(one, clock, INPUT_DELAY + 20)
        assert ["NoData"] == rules(one)


async def test_no_tick_is_made_while_the_database_does_not_answer() -> None:
    """While inputs cannot be read, no run counts as missing; afterwards it counts from then on."""
    clock = ManualClock(NOON)
    async with running_replicas(alerts(**NO_DATA), 1, clock=clock) as (one,):
        await one.take_over()
        add_runs(one.alerts, good())
        await tick(one, clock, 10)
        one.inputs.failure = StoreFailing("the database does not answer")
        await tick(one, clock, 600)
        assert [] == rules(one)
        one.inputs.failure = None
        await tick(one, clock, 60)
        assert [] == rules(one)
        await tick(one, clock, LATEST)
        assert ["NoData"] == rules(one)


async def test_new_owner_of_a_shard_is_no_missing_run() -> None:
    """When another replica gets the shard of a canary, its runs count as missing only from then on."""
    clock = ManualClock(NOON)
    shard = shard_of(CHAT.identity)
    async with running_replicas(alerts(**NO_DATA), 1, clock=clock) as (one,):
        await one.take_over()
        one.alerting.observe_membership(Membership(owners={shard: Ownership(1, 1), "shard-other": Ownership(1, 1)}))
        add_runs(one.alerts, good())
        await tick(one, clock, LATEST - 20)
        one.alerting.observe_membership(Membership(owners={shard: Ownership(2, 2), "shard-other": Ownership(1, 1)}))
        await tick(one, clock, 60)
        assert [] == rules(one)
        one.alerting.observe_membership(Membership(owners={shard: Ownership(2, 2), "shard-other": Ownership(2, 2)}))
        await tick(one, clock, LATEST - 40)
        assert ["NoData"] == rules(one)


async def test_takeover_of_alerting_is_no_missing_run() -> None:
    """A successor counts missing runs from its own start, and knows the runs that its predecessor has seen."""
    clock = ManualClock(NOON)
    async with running_replicas(alerts(**NO_DATA), clock=clock) as (one, two):
        await one.take_over()
        add_runs(one.alerts, good())
        await tick(one, clock, LATEST - 20)
        one.lose()
        await two.take_over(fence=True)
        await wait_until(lambda: two.alerting.is_owner)
        await tick(two, clock, 60)
        assert [] == rules(two)
