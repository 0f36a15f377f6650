"""Level receivers, told the state again and again."""

import asyncio

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.service.dispatcher import delivery_failures
from streamcanary.alerting.service.service import AlertingService
from streamcanary.store.database import Store
from support.alerting.builders import alerts, webhook_config
from support.alerting.service import OUTAGE, RECOVERY, accepted_types, enqueue_outcomes, running_service, wait_until
from support.clock import ManualClock
from support.servers.receiver import HANG, FakeReceiver, Reply


def prom(*receivers: FakeReceiver, **more: FakeReceiver) -> AlertsConfig:
    """Configure one Alertmanager with several peers, and webhooks beside it."""
    peers = {"type": "alertmanager", "urls": [receiver.url for receiver in receivers]}
    return alerts(receivers={"prom": peers, **{name: webhook_config(hook.url) for name, hook in more.items()}})


def all_fail(alerting: AlertingService) -> bool:
    """Tell whether each peer has failed to take what it was told last."""
    peers = [peer for some in delivery_failures(alerting._dispatchers).values() for peer in some]
    return bool(peers) and None not in peers


async def test_a_level_receiver_is_told_again_and_again(store: Store) -> None:
    """At once, each minute, at once when it is over, and for a quarter of an hour after that."""
    clock = ManualClock(wall=OUTAGE[-1].started + 5)
    async with FakeReceiver() as peer, running_service(store, prom(peer), clock) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await peer.wait_for_deliveries(1)
        clock.advance(90)  # the recovery is over by then
        alerting.wake()
        await peer.wait_for_deliveries(2)
        enqueue_outcomes(alerting, RECOVERY)
        await peer.wait_for_deliveries(3)
        for count in range(4, 30):
            clock.advance(60)
            alerting.wake()
            if clock.time() - RECOVERY[-1].started < 15 * 60:
                await peer.wait_for_deliveries(count)
        await alerting.drain(0.2)
        heard = len(peer.deliveries)
        clock.advance(60)
        alerting.wake()
        await asyncio.sleep(0.05)
        assert len(peer.deliveries) == heard
    starts = {delivery.json[0]["startsAt"] for delivery in peer.deliveries}
    ends = [delivery.json[0]["endsAt"] for delivery in peer.deliveries]
    assert len(starts) == 1
    assert ends[1] > ends[0] > ends[2]
    assert set(ends[2:]) == {ends[2]}


async def test_every_peer_is_told_on_its_own(store: Store) -> None:
    """One that hangs delays no other."""
    async with (
        FakeReceiver(always=HANG) as one,
        FakeReceiver() as two,
        running_service(store, prom(one, two)) as alerting,
    ):
        enqueue_outcomes(alerting, OUTAGE)
        await two.wait_for_deliveries(1)
        enqueue_outcomes(alerting, RECOVERY)
        await two.wait_for_deliveries(2)
        assert len(one.deliveries) == 1


async def test_a_peer_that_was_away_hears_the_state_of_now(store: Store) -> None:
    """What it missed is told with the retry, not one by one."""
    clock = ManualClock(wall=OUTAGE[-1].started + 5)
    async with FakeReceiver(Reply(503)) as peer, running_service(store, prom(peer), clock) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await peer.wait_for_deliveries(1)
        enqueue_outcomes(alerting, RECOVERY)
        await wait_until(lambda: not alerting.open_incidents)
        clock.advance(2)
        alerting.wake()
        await peer.wait_for_deliveries(2)
        (alert,) = peer.deliveries[1].json
        assert alert["endsAt"] < "2027-01-15T08:03"


async def test_a_peer_that_asks_for_an_hour_is_told_again_before_the_alert_ends_by_itself(store: Store) -> None:
    """It would do so a quarter of an hour after the last word; a third of that is what it is left alone for."""
    clock = ManualClock(wall=OUTAGE[-1].started + 5)
    busy = Reply(503, {"Retry-After": "3600"})
    async with FakeReceiver(busy) as peer, running_service(store, prom(peer), clock) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await peer.wait_for_deliveries(1)
        await wait_until(lambda: all_fail(alerting))
        clock.advance(299)
        alerting.wake()
        await asyncio.sleep(0.05)
        assert len(peer.deliveries) == 1
        clock.advance(1)
        alerting.wake()
        await peer.wait_for_deliveries(2)


async def test_peers_that_take_nothing_stop_the_heart(store: Store) -> None:
    """After a quarter of an hour in which there was something to tell; until one of them does."""
    clock = ManualClock(wall=OUTAGE[-1].started + 5)
    down, no = Reply(503), Reply(400, body=b"bad label")
    async with (
        FakeReceiver(always=down) as one,
        FakeReceiver(always=no) as two,
        running_service(store, prom(one, two), clock) as alerting,
    ):
        says = alerting.liveness_checks()["levels"]
        clock.advance(3600)
        assert None is says()  # there was nothing to tell
        enqueue_outcomes(alerting, OUTAGE)
        await wait_until(lambda: all_fail(alerting))
        clock.advance(900)
        assert None is says()
        clock.advance(1)
        assert "prom has taken nothing for 15m1s (HTTP 400: bad label)" == says()
        one.always = Reply()
        alerting.wake()
        await wait_until(lambda: says() is None)


async def test_peers_that_took_nothing_stop_no_heart_once_there_is_nothing_to_tell(store: Store) -> None:
    """It is over, and what is over is told for a quarter of an hour."""
    clock = ManualClock(wall=OUTAGE[-1].started + 5)
    async with FakeReceiver(always=Reply(503)) as peer, running_service(store, prom(peer), clock) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await wait_until(lambda: all_fail(alerting))
        enqueue_outcomes(alerting, RECOVERY)
        await wait_until(lambda: not alerting.open_incidents)
        clock.advance(1000)
        alerting.wake()
        await wait_until(lambda: not all_fail(alerting))


async def test_a_peer_that_refuses_is_told_to_the_others(store: Store) -> None:
    """It stores the valid alerts of what it answers with 400; the whole is told again at the next round."""
    clock = ManualClock(wall=OUTAGE[-1].started + 5)
    async with (
        FakeReceiver(Reply(400, body=b"bad label")) as refusing,
        FakeReceiver() as well,
        FakeReceiver() as hook,
        running_service(store, prom(refusing, well, hook=hook), clock) as alerting,
    ):
        enqueue_outcomes(alerting, OUTAGE)
        await hook.wait_for_deliveries(2)
        assert hook.deliveries[1].json["labels"]["alert"] == "ReceiverFailing"
        assert "bad label" in hook.deliveries[1].json["alerts"][0]["evidence"]["message"]
        clock.advance(60)
        alerting.wake()
        await hook.wait_for_deliveries(3)
        assert accepted_types(hook) == ["alert.fired", "alert.fired", "alert.resolved"]


async def test_a_receiver_is_well_when_all_its_peers_are(store: Store) -> None:
    """One peer that accepts again does not hide the other that still refuses, also not over a restart."""
    clock, no = ManualClock(wall=OUTAGE[-1].started + 5), Reply(400, body=b"bad label")
    async with FakeReceiver(always=no) as one, FakeReceiver(always=no) as two, FakeReceiver() as hook:
        async with running_service(store, prom(one, two, hook=hook), clock) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await hook.wait_for_deliveries(2)
            await one.wait_for_deliveries(1)
            await two.wait_for_deliveries(1)
            one.always = Reply()
            clock.advance(60)
            alerting.wake()
            await one.wait_for_deliveries(2)
            await alerting.drain(1)
            assert len(hook.deliveries) == 2
        async with running_service(store, prom(one, two, hook=hook), clock) as alerting:
            await one.wait_for_deliveries(3)
            await alerting.drain(1)
            assert len(hook.deliveries) == 2
            two.always = Reply()
            clock.advance(60)
            alerting.wake()
            await hook.wait_for_deliveries(3)
    assert hook.deliveries[2].json["type"] == "alert.resolved"


async def test_peers_that_take_nothing_for_minutes_are_told_to_the_others(store: Store) -> None:
    """When all of them do; it is over when one takes something."""
    clock, down = ManualClock(wall=OUTAGE[-1].started + 5), Reply(503)

    async def pass_minutes(*peers: FakeReceiver) -> None:
        """Let time pass until each of ``peers`` was told nine times more."""
        enough = [len(peer.deliveries) + 9 for peer in peers]
        while any(len(peer.deliveries) < count for peer, count in zip(peers, enough, strict=True)):
            clock.advance(60)
            alerting.wake()
            await asyncio.sleep(0.01)

    async with (
        FakeReceiver(always=down) as one,
        FakeReceiver() as two,
        FakeReceiver() as hook,
        running_service(store, prom(one, two, hook=hook), clock) as alerting,
    ):
        enqueue_outcomes(alerting, OUTAGE)
        await hook.wait_for_deliveries(1)
        await pass_minutes(one, two)
        assert 1 == len(hook.deliveries)
        two.always = down
        await pass_minutes(one, two)
        await hook.wait_for_deliveries(2)
        one.always = Reply()
        await pass_minutes(one)
        await hook.wait_for_deliveries(3)
        assert [
            ("alert.fired", "Errors"),
            ("alert.fired", "ReceiverFailing"),
            ("alert.resolved", "ReceiverFailing"),
        ] == [(delivery.json["type"], delivery.json["labels"]["alert"]) for delivery in hook.deliveries]
