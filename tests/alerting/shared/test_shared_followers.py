"""Replicas that do not own alerting: what they show, and silences that are created at them."""

import asyncio
import gc
from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from streamcanary.alerting.service.shared import input_requests
from streamcanary.alerting.service.shared.input_codec import encode_silence
from streamcanary.alerting.service.shared.leased_service import LeasedAlertingService
from streamcanary.model.alerts.row_change import RUN_TABLES
from streamcanary.model.alerts.silence import MAX_SILENCES, Silence
from streamcanary.model.replicas import ALERTS
from streamcanary.store.errors import StoreFailing
from support.alerting.builders import CHAT, NOON, THREE_FAILURES_RULE, alerts, bad, webhook_config
from support.alerting.service import OUTAGE, RECOVERY, wait_until, webhooks_config
from support.alerting.shared import Replica, add_runs, running_replicas
from support.clock import ManualClock
from support.servers.receiver import FakeReceiver

ALL = ('alert=~".*"',)


def silence(name: str = "x", *, match: tuple[str, ...] = ALL) -> Silence:
    """Build a silence of an hour from ``NOON``."""
    return Silence(id=name, match=match, starts=NOON, until=NOON + 3600)


def count_of(kind: type) -> int:
    """Return how many objects of this class there are in the process."""
    gc.collect()
    return sum(type(one) is kind for one in gc.get_objects())


async def refresh(replica: Replica) -> None:
    """Let a follower read what is stored, now."""
    replica.alerting.wake()
    await asyncio.sleep(0.05)


async def test_follower_shows_what_the_owner_has_stored() -> None:
    """Open incidents, history, receivers and rules are those of the owner."""
    async with FakeReceiver() as hook, running_replicas(webhooks_config(hook=hook)) as (one, two):
        await one.take_over()
        add_runs(one.alerts, *OUTAGE)
        await hook.wait_for_deliveries(1)
        await one.wait_for_results()
        await wait_until(lambda: two.alerting.open_incidents)
        assert one.alerting.open_incidents == two.alerting.open_incidents
        assert [one.alerting.status.firing_count] == [two.alerting.status.firing_count]
        await wait_until(lambda: two.alerting.view.receivers[0].state == "ok")
        await wait_until(lambda: two.alerting.history.unfinished)
        [past] = two.alerting.history.unfinished
        assert past == await two.alerting.history.get(past.id)
        assert (past,) == (await two.alerting.history.read_page()).incidents
        assert (True, False) == (one.alerting.is_owner, two.alerting.is_owner)


async def test_follower_reads_the_state_only_when_it_has_changed() -> None:
    """Runs that change no alert make no follower read the state again, but detectors that are displayed."""
    async with running_replicas(alerts(receivers={})) as (one, two):
        await one.take_over()
        await wait_until(lambda: two.inputs.loads)
        await refresh(two)
        before = len(two.inputs.loads)
        add_runs(one.alerts, bad(0), bad(1))
        await wait_until(lambda: not one.alerts.inputs)
        await refresh(two)
        assert (before, 0) == (len(two.inputs.loads), two.alerting.view.rules("chat")[0].progress)
        await refresh(two)
        assert (RUN_TABLES, "2 of 3 in a row") == (two.inputs.loads[-1], two.alerting.view.rules("chat")[0].text)


async def test_follower_shows_the_evidence_of_alerts_that_fire() -> None:
    """Also to somebody who asks once, some seconds late: nobody has to have asked before."""
    clock = ManualClock()
    async with running_replicas(alerts(receivers={}), clock=clock) as (one, two):
        await one.take_over()
        add_runs(one.alerts, *OUTAGE)
        await wait_until(lambda: two.alerting.open_incidents)
        add_runs(one.alerts, *[bad(number) for number in range(len(OUTAGE), 9)])
        await wait_until(lambda: not one.alerts.inputs)
        clock.advance(5)
        await refresh(two)
        [shown], [known] = two.alerting.status.incidents, one.alerting.status.incidents
        assert (9, known.incident.evidence) == (shown.incident.evidence.bad, shown.incident.evidence)


async def test_follower_forgets_the_evidence_of_alerts_that_have_resolved() -> None:
    """Otherwise each alert that ever fired would take memory."""
    clock = ManualClock()
    async with running_replicas(alerts(receivers={}), clock=clock) as (one, two):
        await one.take_over()
        add_runs(one.alerts, *OUTAGE)
        await wait_until(lambda: two.alerting.open_incidents)
        clock.advance(5)
        await refresh(two)
        assert [one.alerting.open_incidents[0].key] == list(two.alerting._stored.state.detectors)
        add_runs(one.alerts, *RECOVERY)
        await wait_until(lambda: not two.alerting.open_incidents)
        clock.advance(5)
        await refresh(two)
        assert {} == two.alerting._stored.state.detectors


async def test_follower_forgets_detectors_that_nobody_asks_for() -> None:
    """They take memory until a minute after they were read last; the next one who asks sees them a second later."""
    clock = ManualClock()
    async with running_replicas(alerts(receivers={}), clock=clock) as (one, two):
        await one.take_over()
        add_runs(one.alerts, bad(0), bad(1))
        await wait_until(lambda: not one.alerts.inputs)
        await wait_until(lambda: two.alerting.view.rules("chat")[0].progress)
        clock.advance(15)
        await refresh(two)
        clock.advance(60)
        await refresh(two)
        assert 0 == two.alerting.view.rules("chat")[0].progress
        await refresh(two)
        assert "2 of 3 in a row" == two.alerting.view.rules("chat")[0].text


async def test_former_owner_forgets_detectors() -> None:
    """A minute after it has handed over, also if the database cannot be read then."""
    clock = ManualClock()
    async with running_replicas(alerts(receivers={}), clock=clock) as (one, _):
        await one.take_over()
        add_runs(one.alerts, bad(0), bad(1))
        await wait_until(lambda: not one.alerts.inputs)
        one.inputs.failure = StoreFailing("the database does not answer")
        await one.release()
        assert "2 of 3 in a row" == one.alerting.view.rules("chat")[0].text
        clock.advance(60)
        await refresh(one)
        assert 0 == one.alerting.view.rules("chat")[0].progress


async def test_former_owner_keeps_nothing_of_the_evaluation() -> None:
    """Neither after a hand-over nor after a loss, nor when it owns alerting again: its state is large."""
    async with running_replicas(alerts(receivers={})) as (one, _):
        for end in ("release", "lose", "release"):
            await one.take_over()
            await wait_until(lambda: one.alerting.is_owner)
            assert 1 == count_of(LeasedAlertingService)
            if end == "release":
                await one.release()
            else:
                one.alerting.lost([ALERTS])
            await refresh(one)
            assert 0 == count_of(LeasedAlertingService)


async def test_former_owner_keeps_the_evidence_of_alerts_that_fire() -> None:
    """It is shown for as long as the alerts are."""
    clock = ManualClock()
    async with running_replicas(alerts(receivers={}), clock=clock) as (one, _):
        await one.take_over()
        add_runs(one.alerts, *[bad(number) for number in range(9)])
        await wait_until(lambda: not one.alerts.inputs)
        [known] = one.alerting.status.incidents
        one.inputs.failure = StoreFailing("the database does not answer")
        await one.release()
        clock.advance(60)
        await refresh(one)
        [shown] = one.alerting.status.incidents
        assert (9, known.incident.evidence) == (shown.incident.evidence.bad, shown.incident.evidence)


async def test_follower_that_cannot_read_says_since_when(caplog: pytest.LogCaptureFixture) -> None:
    """While the database does not answer, a follower shows what it has read last, with its time and the error."""
    clock = ManualClock()
    async with running_replicas(alerts(receivers={}), clock=clock) as (one, two):
        await one.take_over()
        add_runs(one.alerts, *OUTAGE)
        await wait_until(lambda: two.alerting.open_incidents)
        two.inputs.failure = StoreFailing("the database does not answer")
        read_at = clock.time()
        clock.advance(60)
        await refresh(two)
        shown = two.alerting
        assert (1, read_at, "the database does not answer") == (
            len(shown.open_incidents),
            shown.as_of,
            shown.store_error,
        )
        two.inputs.failure = None
        await refresh(two)
        assert (clock.time(), "") == (shown.as_of, shown.store_error)
    assert ["alerts cannot be read"] == [
        record.message for record in caplog.records if record.name.endswith("stored_alerts")
    ]


async def test_replica_that_hands_over_goes_on_showing_the_state() -> None:
    """What a replica has committed as the owner stays visible, until it reads what its successor has changed."""
    async with running_replicas(alerts(receivers={})) as (one, two):
        await one.take_over()
        add_runs(one.alerts, *OUTAGE)
        await wait_until(lambda: one.alerting.open_incidents)
        await one.release()
        assert (False, 1, 1) == (
            one.alerting.is_owner,
            len(one.alerting.open_incidents),
            len(one.alerting.history.unfinished),
        )
        await two.take_over()
        add_runs(one.alerts, *RECOVERY)
        await wait_until(lambda: not one.alerting.open_incidents)


async def test_silence_of_a_follower_is_applied_by_the_owner() -> None:
    """A silence that is created at any replica is in effect, and shown there, when the call returns."""
    clock = ManualClock(NOON)
    async with FakeReceiver() as hook, running_replicas(webhooks_config(hook=hook), clock=clock) as (one, two):
        await one.take_over()
        await two.alerting.create_silence(silence())
        assert ((silence(),), (silence(),)) == (one.alerting.silences, two.alerting.silences)
        add_runs(one.alerts, *OUTAGE)
        await wait_until(lambda: one.alerting.open_incidents)
        assert [] == hook.deliveries
        assert await two.alerting.delete_silence("x")
        await hook.wait_for_deliveries(1)
        assert ((), ()) == (one.alerting.silences, two.alerting.silences)
        assert not await two.alerting.delete_silence("x")


async def test_silence_of_the_owner_takes_the_same_way() -> None:
    """At the owner a silence is an input as well, and a follower sees it within two seconds."""
    async with running_replicas(alerts(receivers={}), clock=ManualClock(NOON)) as (one, two):
        await one.take_over()
        await one.alerting.create_silence(silence())
        await wait_until(lambda: two.alerting.silences == (silence(),), within=2.0)


async def test_silence_waits_for_an_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an owner the call fails after a time and says that the silence is stored; an owner applies it later."""
    monkeypatch.setattr(input_requests, "TIMEOUT", 0.2)
    async with running_replicas(alerts(receivers={}), clock=ManualClock(NOON)) as (one, two):
        with pytest.raises(StoreFailing, match=r"it is stored, but no replica has applied it within 0\.2 s"):
            await two.alerting.create_silence(silence())
        await one.take_over()
        await wait_until(lambda: two.alerting.silences)


async def test_silence_says_why_the_database_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of the database is that of the call; without an answer, the call ends after a time."""
    monkeypatch.setattr(input_requests, "TIMEOUT", 0.2)
    async with running_replicas(alerts(receivers={}), clock=ManualClock(NOON)) as (one, two):
        await one.take_over()
        two.inputs.failure = StoreFailing("postgresql://db/x: connection refused")
        with pytest.raises(StoreFailing, match="connection refused"):
            await two.alerting.create_silence(silence())
        with pytest.raises(StoreFailing, match="connection refused"):
            await two.alerting.delete_silence("x")
        one.inputs.hangs = two.inputs.hangs = True
        two.inputs.failure = None
        for replica in (one, two):
            with pytest.raises(StoreFailing, match=r"the database has not answered within 0\.2 s; try again"):
                await replica.alerting.create_silence(silence())


async def test_too_many_silences_are_rejected_at_every_replica() -> None:
    """The limits hold for the silences of all replicas together, also for those created at the same time."""
    many = [silence(f"s{number}", match=('canary="a"',)) for number in range(MAX_SILENCES - 1)]
    async with running_replicas(alerts(receivers={}), clock=ManualClock(NOON)) as (one, two):
        await one.take_over()
        for each in many:
            one.alerts.add("silence_created", encode_silence(each))
        await wait_until(lambda: len(one.alerting.silences) == len(many))
        await refresh(two)
        last = (replica.alerting.create_silence(silence(f"last-{replica.session}")) for replica in (one, two))
        results = await asyncio.gather(*last, return_exceptions=True)
        assert [None, "there are 1000 silences; end some of them"] == sorted(
            (result and str(result) for result in results), key=lambda one: one is not None
        )
        assert MAX_SILENCES == len(one.alerting.silences)


async def test_diagnosis_of_a_follower_explains_the_alert() -> None:
    """The diagnosis that a replica has made after a failure is in the alert that the owner opens."""
    async with FakeReceiver() as hook, running_replicas(webhooks_config(hook=hook)) as (one, two):
        await one.take_over()
        add_runs(one.alerts, bad(0))
        await wait_until(lambda: not one.alerts.inputs)
        two.alerting.enqueue_diagnosis("chat", "TLS: the certificate has expired")
        await wait_until(lambda: b"expired" in one.alerts.rows["reachability"][CHAT.identity])
        add_runs(one.alerts, bad(1), bad(2))
        await hook.wait_for_deliveries(1)
        assert "TLS: the certificate has expired" == hook.deliveries[0].json["alerts"][0]["evidence"]["diagnosis"]


async def test_metrics_of_alerts_are_those_of_the_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that has handed over exports no active alert and no queue."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)

    def exported() -> tuple[int, list[str]]:
        data = reader.get_metrics_data()
        found = data.resource_metrics[0].scope_metrics[0].metrics if data is not None else []
        points: dict[str, Any] = {metric.name: metric.data.data_points for metric in found}
        active = sum(point.value for point in points.get("streamcanary.alert.active", ()))
        queues = points.get("streamcanary.notification_queue.size", ())
        return active, [str(point.attributes["receiver"]) for point in queues]

    config = alerts(receivers={"hook": webhook_config()})
    async with running_replicas(config, 1) as (one,):
        assert (0, []) == exported()
        await one.take_over()
        add_runs(one.alerts, *OUTAGE)
        await wait_until(lambda: one.alerting.open_incidents)
        assert (1, ["hook"]) == exported()
        await one.release()
        assert (0, []) == exported()
    provider.shutdown()


async def test_config_of_a_follower_is_shown_there_and_applied_when_it_takes_over() -> None:
    """A reload at a follower changes what it shows; as the owner it evaluates with its own configuration."""
    rules = {"Two": {**THREE_FAILURES_RULE, "detector": {"type": "consecutive", "failures": 2}}}
    async with running_replicas(alerts(receivers={})) as (one, two):
        two.alerting.prepare(alerts(receivers={}, rules=rules), "default", [CHAT])
        two.alerting.apply()
        assert ["Two"] == [rule.rule for rule in two.alerting.view.rules("chat")]
        await two.take_over()
        add_runs(one.alerts, bad(0), bad(1))
        await wait_until(lambda: two.alerting.open_incidents)
        two.alerting.prepare(alerts(receivers={}), "default", [CHAT])
        two.alerting.apply()
        await wait_until(lambda: not two.alerting.open_incidents)


async def test_reload_failed_is_about_the_file_of_the_owner() -> None:
    """A rejected file of a follower fires nothing; once it owns alerting, ``ReloadFailed`` fires."""
    async with running_replicas(alerts(receivers={})) as (one, two):
        await one.take_over()
        two.alerting.report_config("line 3: unknown key")
        one.alerting.report_config(None)
        await wait_until(lambda: one.alerting.is_owner)
        assert () == one.alerting.open_incidents
        await one.release()
        await two.take_over()
        await wait_until(lambda: [incident.rule for incident in two.alerting.open_incidents] == ["ReloadFailed"])
        two.alerting.report_config(None)
        await wait_until(lambda: not two.alerting.open_incidents)


async def test_change_of_the_owner_is_reported() -> None:
    """The listener is called once the state is loaded, and when another replica owns alerting."""
    async with running_replicas(alerts(receivers={}), 1) as (one,):
        await one.take_over()
        await wait_until(lambda: one.owner_changes)
        await one.release()
        assert [(True, True), (False, False)] == one.owner_changes
