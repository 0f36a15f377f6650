"""A world of canaries that are told of together."""

from typing import Any

import msgspec

from streamcanary.alerting.engine.inputs import Answered, Ran, Tick
from streamcanary.alerting.notify.receivers.delivery_result import Answer
from streamcanary.model.alerts.incident import Notice
from streamcanary.model.canary import Canary
from support.alerting.builders import World, alerts, bad

ONE_FAILURE: dict[str, Any] = {"detector": {"type": "consecutive", "failures": 1}}


def fleet(number: int) -> tuple[Canary, ...]:
    """Build ``number`` canaries of one provider."""
    return tuple(Canary(name=f"c{one}", target="t", provider="p", interval=30.0) for one in range(number))


def grouped(number: int = 3, **sections: Any) -> World:
    """Build a world of canaries whose every failure is an alert; those of one rule are a group."""
    timing = {"group_wait": "10s", "group_interval": "5m", "repeat_interval": "4h"}
    return World(alerts(rules={"Errors": ONE_FAILURE}, **{"group_by": ["alert"], **timing, **sections}), *fleet(number))


def runs(world: World, *names: str, run: Any = bad) -> None:
    """Let canaries run now."""
    for name in names:
        world.runs += 1
        outcome = msgspec.structs.replace(run(world.runs), canary=name, started=world.now - 1, duration=1.0)
        world.step(Ran(outcome))


def later(world: World, seconds: float) -> None:
    """Let time pass."""
    world.now += seconds
    world.step(Tick())


def told(notice: Notice | None) -> tuple[str, dict[str, bool]]:
    """Return what a notice says: its action, and of each canary whether it fires."""
    assert notice is not None
    return notice.action.value, {str(one.canary): one.firing for one in notice.members}


def answer(world: World, sent: Notice, what: Answer) -> None:
    """Have a receiver answer what is on the way."""
    world.step(Answered(sent.id, what, 0.0))


def announced(number: int = 3, *names: str, **sections: Any) -> World:
    """Build a world in which ``names`` (or c0) have failed, and the page was delivered."""
    world = grouped(number, **sections)
    runs(world, *(names or ("c0",)))
    later(world, 10)
    assert world.deliver() is not None
    return world
