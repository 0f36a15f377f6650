"""State receivers in the running service: they are sent all active alerts periodically."""

import asyncio

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.service.dispatcher import delivery_failures
from streamcanary.alerting.service.service import AlertingService
from streamcanary.store.database import Store
from support.alerting.builders import alerts, webhook_config
from support.alerting.service import OUTAGE, RECOVERY, accepted_types, enqueue_outcomes, running_service, wait_until
from support.clock import ManualClock
from support.servers.receiver import HANG, FakeReceiver, Reply


def alertmanager_config(*receivers: FakeReceiver, **more: FakeReceiver) -> AlertsConfig:
    """Configure an Alertmanager with several peers, and webhooks."""
    peers = {"type": "alertmanager", "urls": [receiver.url for receiver in receivers]}
    return alerts(receivers={"prom": peers, **{name: webhook_config(hook.url) for name, hook in more.items()}})


def all_fail(alerting: AlertingService) -> bool:
    """Return whether the last delivery to each peer has failed."""
    peers = [peer for some in delivery_failures(alerting._dispatchers).values() for peer in some]
    return bool(peers) and None not in peers


async def test_state_receiver_is_sent_active_alerts_periodically(store: Store) -> None:
    """Alerts are sent at each change, each minute, and for 15 minutes after the resolve."""
    clock = ManualClock(wall=OUTAGE[-1].started + 5)
    async with FakeReceiver() as peer, running_service(store, alertmanager_config(peer), clock) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await peer.wait_for_deliveries(1)
        clock.advance(90)  # the recovery is over at that time
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
        observed = len(peer.deliveries)
        clock.advance(60)
        alerting.wake()
        await asyncio.sleep(0.05)
        assert len(peer.deliveries) == observed
    starts = {delivery.json[0]["startsAt"] for delivery in peer.deliveries}
    ends = [delivery.json[0]["endsAt"] for delivery in peer.deliveries]
    assert len(starts) == 1
    assert ends[1] > ends[0] > ends[2]
    assert set(ends[2:]) == {ends[2]}


async def test_hanging_peer_delays_no_other_peer(store: Store) -> None:
    """A hanging peer delays no other peer."""
    async with (
        FakeReceiver(always=HANG) as one,
        FakeReceiver() as two,
        running_service(store, alertmanager_config(one, two)) as alerting,
    ):
        enqueue_outcomes(alerting, OUTAGE)
        await two.wait_for_deliveries(1)
        enqueue_outcomes(alerting, RECOVERY)
        await two.wait_for_deliveries(2)
        assert len(one.deliveries) == 1


async def test_retry_sends_the_current_state(store: Store) -> None:
    """A retry sends the current state, not each missed change."""
    clock = ManualClock(wall=OUTAGE[-1].started + 5)
    async with FakeReceiver(Reply(503)) as peer, running_service(store, alertmanager_config(peer), clock) as alerting:
        enqueue_outcomes(alerting, OUTAGE)
        await peer.wait_for_deliveries(1)
        enqueue_outcomes(alerting, RECOVERY)
        await wait_until(lambda: not alerting.open_incidents)
        clock.advance(2)
        alerting.wake()
        await peer.wait_for_deliveries(2)
        (alert,) = peer.deliveries[1].json
        assert alert["endsAt"] < "2027-01-15T08:03"


async def test_long_retry_after_is_limited_to_a_third_of_the_expiry(store: Store) -> None:
    """A ``Retry-After`` of an hour is limited to five minutes, so that a firing alert does not expire."""
    clock = ManualClock(wall=OUTAGE[-1].started + 5)
    busy = Reply(503, {"Retry-After": "3600"})
    async with FakeReceiver(busy) as peer, running_service(store, alertmanager_config(peer), clock) as alerting:
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


async def test_liveness_check_fails_while_all_peers_fail(store: Store) -> None:
    """The liveness check fails after 15 minutes with active alerts in which all peers fail, until one accepts."""
    clock = ManualClock(wall=OUTAGE[-1].started + 5)
    down, no = Reply(503), Reply(400, body=b"bad label")
    async with (
        FakeReceiver(always=down) as one,
        FakeReceiver(always=no) as two,
        running_service(store, alertmanager_config(one, two), clock) as alerting,
    ):
        check = alerting.liveness_checks()["levels"]
        clock.advance(3600)
        assert None is check()  # there are no active alerts
        enqueue_outcomes(alerting, OUTAGE)
        await wait_until(lambda: all_fail(alerting))
        clock.advance(900)
        assert None is check()
        clock.advance(1)
        assert "no address of receiver prom has accepted alerts for 15m1s (HTTP 400: bad label)" == check()
        one.always = Reply()
        alerting.wake()
        await wait_until(lambda: check() is None)


async def test_liveness_check_passes_without_active_alerts(store: Store) -> None:
    """Failing peers pass the liveness check once there are no alerts to send."""
    clock = ManualClock(wall=OUTAGE[-1].started + 5)
    async with (
        FakeReceiver(always=Reply(503)) as peer,
        running_service(store, alertmanager_config(peer), clock) as alerting,
    ):
        enqueue_outcomes(alerting, OUTAGE)
        await wait_until(lambda: all_fail(alerting))
        enqueue_outcomes(alerting, RECOVERY)
        await wait_until(lambda: not alerting.open_incidents)
        clock.advance(1000)
        alerting.wake()
        await wait_until(lambda: not all_fail(alerting))


async def test_refusal_of_a_peer_notifies_other_receivers(store: Store) -> None:
    """A refusal of one peer notifies the other receivers, and resolves when the peer accepts."""
    clock = ManualClock(wall=OUTAGE[-1].started + 5)
    async with (
        FakeReceiver(Reply(400, body=b"bad label")) as refusing,
        FakeReceiver() as well,
        FakeReceiver() as hook,
        running_service(store, alertmanager_config(refusing, well, hook=hook), clock) as alerting,
    ):
        enqueue_outcomes(alerting, OUTAGE)
        await hook.wait_for_deliveries(2)
        assert hook.deliveries[1].json["labels"]["alert"] == "ReceiverFailing"
        assert "bad label" in hook.deliveries[1].json["alerts"][0]["evidence"]["message"]
        clock.advance(60)
        alerting.wake()
        await hook.wait_for_deliveries(3)
        assert accepted_types(hook) == ["alert.fired", "alert.fired", "alert.resolved"]


async def test_receiver_recovers_when_all_peers_accept(store: Store) -> None:
    """``ReceiverFailing`` resolves only when all peers accept, also across a restart."""
    clock, no = ManualClock(wall=OUTAGE[-1].started + 5), Reply(400, body=b"bad label")
    async with FakeReceiver(always=no) as one, FakeReceiver(always=no) as two, FakeReceiver() as hook:
        async with running_service(store, alertmanager_config(one, two, hook=hook), clock) as alerting:
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
        async with running_service(store, alertmanager_config(one, two, hook=hook), clock) as alerting:
            await one.wait_for_deliveries(3)
            await alerting.drain(1)
            assert len(hook.deliveries) == 2
            two.always = Reply()
            clock.advance(60)
            alerting.wake()
            await hook.wait_for_deliveries(3)
    assert hook.deliveries[2].json["type"] == "alert.resolved"


async def test_failure_of_all_peers_notifies_other_receivers(store: Store) -> None:
    """``ReceiverFailing`` fires when all peers fail for minutes, and resolves when one accepts."""
    clock, down = ManualClock(wall=OUTAGE[-1].started + 5), Reply(503)

    async def pass_minutes(*peers: FakeReceiver) -> None:
        """Advance the clock until each of ``peers`` has had nine more deliveries."""
        enough = [len(peer.deliveries) + 9 for peer in peers]
        while any(len(peer.deliveries) < count for peer, count in zip(peers, enough, strict=True)):
            clock.advance(60)
            alerting.wake()
            await asyncio.sleep(0.01)

    async with (
        FakeReceiver(always=down) as one,
        FakeReceiver() as two,
        FakeReceiver() as hook,
        running_service(store, alertmanager_config(one, two, hook=hook), clock) as alerting,
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
