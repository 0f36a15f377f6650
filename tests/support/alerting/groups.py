"""A world of canaries that are told of together."""

from typing import Any

import msgspec

from streamcanary.alerting.engine.inputs import RunFinished, SendFinished, Tick
from streamcanary.alerting.notify.receivers.delivery_result import DeliveryResult
from streamcanary.model.alerts.incident import Notification
from streamcanary.model.canary import Canary
from support.alerting.builders import EngineHarness, alerts, bad

ONE_FAILURE: dict[str, Any] = {"detector": {"type": "consecutive", "failures": 1}}


def make_canaries(number: int) -> tuple[Canary, ...]:
    """Build ``number`` canaries of one provider."""
    return tuple(Canary(name=f"c{one}", target="t", provider="p", interval=30.0) for one in range(number))


def grouped_harness(number: int = 3, **sections: Any) -> EngineHarness:
    """Build a world of canaries whose every failure is an alert; those of one rule are a group."""
    timing = {"group_wait": "10s", "group_interval": "5m", "repeat_interval": "4h"}
    return EngineHarness(
        alerts(rules={"Errors": ONE_FAILURE}, **{"group_by": ["alert"], **timing, **sections}), *make_canaries(number)
    )


def run_canaries(world: EngineHarness, *names: str, run: Any = bad) -> None:
    """Let canaries run now."""
    for name in names:
        world.run_count += 1
        outcome = msgspec.structs.replace(run(world.run_count), canary=name, started=world.now - 1, duration=1.0)
        world.step(RunFinished(outcome))


def advance(world: EngineHarness, seconds: float) -> None:
    """Let time pass."""
    world.now += seconds
    world.step(Tick())


def summarize(notice: Notification | None) -> tuple[str, dict[str, bool]]:
    """Return what a notice says: its action, and of each canary whether it fires."""
    assert notice is not None
    return notice.action.value, {str(one.canary): one.is_firing for one in notice.members}


def finish_send(world: EngineHarness, sent: Notification, what: DeliveryResult) -> None:
    """Have a receiver answer what is on the way."""
    world.step(SendFinished(sent.id, what, 0.0))


def notified_harness(number: int = 3, *names: str, **sections: Any) -> EngineHarness:
    """Build a world in which ``names`` (or c0) have failed, and the page was delivered."""
    world = grouped_harness(number, **sections)
    run_canaries(world, *(names or ("c0",)))
    advance(world, 10)
    assert world.deliver() is not None
    return world
