"""An engine harness whose canaries share a group."""

from typing import Any

import msgspec

from streamcanary.alerting.engine.inputs import RunFinished, SendFinished, Tick
from streamcanary.alerting.notify.delivery.result import DeliveryResult
from streamcanary.model.alerts.incident import Notification
from streamcanary.model.canary import Canary
from support.alerting.builders import EngineHarness, alerts, bad

ONE_FAILURE: dict[str, Any] = {"detector": {"type": "consecutive", "failures": 1}}


def make_canaries(count: int) -> tuple[Canary, ...]:
    """Build ``count`` canaries of one provider."""
    return tuple(Canary(name=f"c{number}", target="t", provider="p", interval=30.0) for number in range(count))


def grouped_harness(number: int = 3, **sections: Any) -> EngineHarness:
    """Build a harness in which each failure fires an alert; the alerts of one rule are a group."""
    timing = {"group_wait": "10s", "group_interval": "5m", "repeat_interval": "4h"}
    return EngineHarness(
        alerts(rules={"Errors": ONE_FAILURE}, **{"group_by": ["alert"], **timing, **sections}), *make_canaries(number)
    )


def run_canaries(harness: EngineHarness, *names: str, run: Any = bad) -> None:
    """Process one run of each canary now."""
    for name in names:
        harness.run_count += 1
        outcome = msgspec.structs.replace(run(harness.run_count), canary=name, started=harness.now - 1, duration=1.0)
        harness.step(RunFinished(outcome))


def advance(harness: EngineHarness, seconds: float) -> None:
    """Advance the clock and tick."""
    harness.now += seconds
    harness.step(Tick())


def summarize(notification: Notification | None) -> tuple[str, dict[str, bool]]:
    """Return the action of a notification, and for each canary whether it fires."""
    assert notification is not None
    return notification.action.value, {str(member.canary): member.is_firing for member in notification.members}


def finish_send(harness: EngineHarness, sent: Notification, result: DeliveryResult) -> None:
    """Finish a started send with ``result``."""
    harness.step(SendFinished(sent.id, result, 0.0))


def notified_harness(number: int = 3, *names: str, **sections: Any) -> EngineHarness:
    """Build a harness in which ``names`` (default: c0) failed and the trigger was delivered."""
    harness = grouped_harness(number, **sections)
    run_canaries(harness, *(names or ("c0",)))
    advance(harness, 10)
    assert harness.deliver() is not None
    return harness
