"""What there is to be seen of alerting: what fires, what mutes it, and who has not heard of it."""

from typing import Any

import pytest

from streamcanary.alerting.engine.inputs import Silenced
from streamcanary.alerting.notify.receivers.delivery_result import Refused, Retry
from streamcanary.alerting.service import status
from streamcanary.alerting.service.liveness import Failing
from streamcanary.alerting.service.status import Display
from streamcanary.model.alerts.silence import Silence
from streamcanary.model.alerts.status_snapshot import Board
from streamcanary.model.faults import FaultKind
from streamcanary.store.database import Store
from support.alerting.builders import NOON, THREE_IN_A_ROW, World, a_hook, alerts, bad
from support.alerting.groups import ONE_FAILURE, fleet, runs
from support.alerting.service import OUTAGE, hooks, offer, running, until
from support.servers.receiver import Receiver


def shown(world: World, **levels: Any) -> Board:
    """Return what is to be seen of ``world``."""
    return Display(world.config, world.engine).board(world.state, levels, world.now, 1000.0)


def test_an_open_incident_is_shown_as_it_is_now() -> None:
    """With its annotations filled in, and the evidence of the last run."""
    runbook = {"annotations": {"runbook_url": "https://run.book/{alert}", "summary": "{bad}"}}
    world = World(alerts(rules={"Errors": {**THREE_IN_A_ROW, **runbook}}))
    assert Board() == shown(world)
    world.see(*[bad] * 5)
    (one,) = shown(world).incidents
    assert (5, 5) == (one.incident.evidence.bad, one.incident.evidence.total)
    assert {"runbook_url": "https://run.book/Errors", "summary": "5"} == one.annotations
    assert (None, ()) == (one.muted, one.silences)


def test_what_mutes_an_alert_is_shown() -> None:
    """A silence, each of them by its id; maintenance; or what explains it."""
    world = World(alerts())
    world.see(*[bad] * 3)
    for name in ("s-1", "s-2"):
        world.step(Silenced(Silence(id=name, match=('alert="Errors"',), starts=NOON, until=NOON + 3600)))
    world.step(Silenced(Silence(id="s-3", match=('alert="Other"',), starts=NOON, until=NOON + 3600)))
    (one,) = shown(world).incidents
    assert ("silence s-1", ("s-1", "s-2")) == (one.muted, one.silences)

    window = {"match": ['canary="chat"'], "cron": "* * * * *", "for": "5m"}
    world = World(alerts(maintenance={"deploy": window}))
    world.see(*[bad] * 3)
    assert ["maintenance deploy"] == [one.muted for one in shown(world).incidents]

    def rejected(number: int) -> Any:
        return bad(number, FaultKind.AUTH_FAILED)

    rule = {**THREE_IN_A_ROW, "blame": ["config"]}
    world = World(alerts(rules={"Mine": rule, "TargetRejected": {"enabled": True}}))
    world.see(rejected, rejected)
    world.deliver()
    world.see(rejected)
    assert ["TargetRejected explains it"] == [
        one.muted for one in shown(world).incidents if one.incident.rule == "Mine"
    ]


def test_what_a_receiver_has_not_accepted_is_shown_with_the_reason() -> None:
    """What waits, what was refused for good; and nothing once it has arrived."""
    world = World(alerts(receivers={"late": a_hook(), "refusing": a_hook(), "well": a_hook()}))
    world.see(*[bad] * 3)
    world.deliver("late", Retry(reason="HTTP 500"))
    world.deliver("refusing", Refused("HTTP 404"))
    world.deliver("well")
    owed = {one.receiver: one for one in shown(world).undelivered if one.title.startswith("chat")}
    assert {"late", "refusing"} == owed.keys()
    assert ("trigger", 1, False, "HTTP 500") == (
        owed["late"].action,
        owed["late"].tries,
        owed["late"].parked,
        owed["late"].error,
    )
    assert owed["late"].next_try is not None
    assert (True, None, "HTTP 404") == (owed["refusing"].parked, owed["refusing"].next_try, owed["refusing"].error)
    assert world.now == owed["refusing"].since
    assert "chat: 3 of the last 3 runs failed" == owed["refusing"].title


def test_a_level_receiver_that_takes_nothing_is_shown() -> None:
    """It has no notices: it is told the state of things."""
    world = World(alerts())
    behind = [Failing(940.0, "HTTP 500"), None, Failing(970.0, "no answer within 10 s")]
    (one,) = shown(world, prom=behind, other=[None]).undelivered
    assert ("prom", "state", "2 of 3 addresses take nothing") == (one.receiver, one.action, one.title)
    assert (world.now - 60, "HTTP 500", None) == (one.since, one.error, one.tries)


def test_of_many_the_oldest_are_shown_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer has bounds, however much fails."""
    monkeypatch.setattr(status, "MOST_INCIDENTS", 3)
    monkeypatch.setattr(status, "MOST_UNDELIVERED", 4)
    world = World(alerts(rules={"Errors": ONE_FAILURE}, group_by=["canary"]), *fleet(6))
    for number in range(6):
        world.now += 1
        runs(world, f"c{number}")
    board = shown(world, prom=[Failing(990.0, "HTTP 500")])
    assert (6, ["c0", "c1", "c2"]) == (board.firing, [one.incident.canary for one in board.incidents])
    assert (7, ["state", *["trigger"] * 3]) == (board.owed, [one.action for one in board.undelivered])


async def test_running_alerting_has_a_board(store: Store) -> None:
    """As the store has it."""
    async with Receiver() as hook, running(store, hooks(hook=hook)) as alerting:
        offer(alerting, OUTAGE)
        await until(lambda: alerting.board.firing == 1)
        await hook.received(1)
        await until(lambda: alerting.board.owed == 0)
        assert ["chat"] == [one.incident.subject for one in alerting.board.incidents]
