"""A reload of the running alerting service: its dispatchers, and the order of its inputs."""

import asyncio
from pathlib import Path

from msgspec import structs

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.engine.inputs import Tick
from streamcanary.alerting.service.service import AlertingService
from streamcanary.model.canary import Canary
from streamcanary.model.clock import SystemClock
from streamcanary.store.config import StoreConfig
from streamcanary.store.database import Store
from streamcanary.store.opening import open_store
from support.alerting.builders import CHAT, alerts, webhook_config
from support.alerting.service import (
    OUTAGE,
    RECOVERY,
    accepted_types,
    enqueue_outcomes,
    running_service,
    wait_until,
    webhooks_config,
)
from support.clock import ManualClock
from support.servers.receiver import HANG, FakeReceiver, Reply

OTHER = structs.replace(CHAT, name="other")


def reload(alerting: AlertingService, config: AlertsConfig, *canaries: Canary) -> None:
    """Replace the configuration; the default canary is ``chat``."""
    alerting.prepare(config, "default", canaries or (CHAT,))
    alerting.apply()


def open_in(folder: Path) -> Store:
    """Open a store."""
    return open_store(StoreConfig(path=folder / "s.db"), SystemClock())


async def test_runs_that_ended_before_a_reload_are_evaluated_under_the_former_rules(tmp_path: Path) -> None:
    """The configuration changes between two inputs of the queue."""
    async with FakeReceiver() as hook:
        store = open_in(tmp_path)
        async with running_service(store, webhooks_config(hook=hook)) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            rule = {"detector": {"type": "consecutive", "failures": 99}}
            reload(alerting, alerts(rules={"Errors": rule}, receivers={"hook": webhook_config(hook.url)}))
            await hook.wait_for_deliveries(1)
            assert ["alert.fired"] == accepted_types(hook)
        await store.close()


async def test_a_changed_receiver_gets_what_is_pending(tmp_path: Path) -> None:
    """What the former address has not accepted is sent to the new one."""
    async with FakeReceiver(always=Reply(503)) as broken, FakeReceiver() as repaired:
        store = open_in(tmp_path)
        async with running_service(store, webhooks_config(hook=broken)) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await broken.wait_for_deliveries(1)
            reload(alerting, webhooks_config(hook=repaired))
            await repaired.wait_for_deliveries(1)
            assert ["alert.fired"] == accepted_types(repaired)
        await store.close()


async def test_a_notification_that_is_being_sent_is_sent_once(tmp_path: Path) -> None:
    """The new dispatcher begins when the former one has ended; the order is kept."""
    async with FakeReceiver(HANG) as slow, FakeReceiver() as new:
        config = alerts(receivers={"hook": webhook_config(slow.url, timeout="500ms")})
        store = open_in(tmp_path)
        async with running_service(store, config) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await slow.wait_for_deliveries(1)
            reload(alerting, webhooks_config(hook=new))
            await asyncio.sleep(0.1)
            assert [] == new.deliveries
            await new.wait_for_deliveries(1)
            assert slow.deliveries[0].id == new.deliveries[0].id
            assert 1 == len(slow.deliveries)
        await store.close()


async def test_an_unchanged_receiver_keeps_its_dispatcher(tmp_path: Path) -> None:
    """Its connections and its rate limit stay; those of others are replaced or end."""
    async with FakeReceiver() as one, FakeReceiver() as two, FakeReceiver() as three:
        store = open_in(tmp_path)
        async with running_service(store, webhooks_config(kept=one, changed=two, removed=three)) as alerting:
            await wait_until(lambda: list(alerting._dispatchers))
            before = {dispatcher.name: dispatcher for dispatcher in alerting._dispatchers}
            reload(alerting, webhooks_config(kept=one, changed=three, added=two), CHAT, OTHER)
            await wait_until(lambda: "added" in {dispatcher.name for dispatcher in alerting._dispatchers})
            after = {dispatcher.name: dispatcher for dispatcher in alerting._dispatchers}
            assert {"kept", "changed", "added"} == after.keys()
            assert (True, False) == (before["kept"] is after["kept"], before["changed"] is after["changed"])
        await store.close()


async def test_a_removed_receiver_is_sent_nothing_more(tmp_path: Path) -> None:
    """The others get the resolve."""
    async with FakeReceiver() as kept, FakeReceiver() as removed:
        store = open_in(tmp_path)
        async with running_service(store, webhooks_config(kept=kept, removed=removed)) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await kept.wait_for_deliveries(1)
            await removed.wait_for_deliveries(1)
            reload(alerting, webhooks_config(kept=kept))
            enqueue_outcomes(alerting, RECOVERY)
            await kept.wait_for_deliveries(2)
            assert 1 == len(removed.deliveries)
        await store.close()


async def test_a_reload_while_the_store_cannot_be_read_applies_when_it_can(tmp_path: Path) -> None:
    """The configuration changes in memory; what the store has is adapted to it when it is read."""
    async with FakeReceiver() as hook:
        store = open_in(tmp_path)
        async with running_service(store, webhooks_config(hook=hook)) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await hook.wait_for_deliveries(1)
        async with running_service(store, webhooks_config(hook=hook)) as alerting:
            reload(alerting, webhooks_config(hook=hook), OTHER)
            await wait_until(lambda: ["alert.fired", "alert.resolved"] == accepted_types(hook))
        await store.close()


async def test_an_open_alert_outlives_the_removal_of_renamed_from(tmp_path: Path) -> None:
    """It is notified once, and resolved once, over a reload and a restart without the former name of its rule."""
    async with FakeReceiver() as hook:
        store, receivers = open_in(tmp_path), {"hook": webhook_config(hook.url)}
        rule = {"detector": {"type": "consecutive", "failures": 3}}
        renamed = alerts(rules={"Faults": {**rule, "renamed_from": "Errors"}}, receivers=receivers)
        later = alerts(rules={"Faults": rule}, receivers=receivers)
        async with running_service(store, renamed) as alerting:
            enqueue_outcomes(alerting, OUTAGE)
            await hook.wait_for_deliveries(1)
            reload(alerting, later)
            await alerting.submit(Tick())
            assert 1 == len(alerting.open_incidents)
        async with running_service(store, later) as alerting:
            await alerting.submit(Tick())
            assert 1 == len(alerting.open_incidents)
            enqueue_outcomes(alerting, RECOVERY)
            await wait_until(lambda: "alert.resolved" in accepted_types(hook))
        assert ["alert.fired", "alert.resolved"] == accepted_types(hook)
        await store.close()


def test_a_reload_with_other_canaries_does_not_fail_the_liveness_check() -> None:
    """With hourly canaries only, the last run is long ago when a frequent one is added."""
    clock = ManualClock()
    hourly, frequent = structs.replace(CHAT, interval=3600.0), structs.replace(CHAT, interval=10.0)
    alerting = AlertingService(config=alerts(), instance="i", canaries=[hourly], store=None, clock=clock)  # type: ignore[arg-type]
    clock.advance(3000)
    alerting._liveness.configure([frequent], {})
    assert None is alerting._liveness.check_runs()
    clock.advance(600)
    assert "no run has ended for 10m" == alerting._liveness.check_runs()
