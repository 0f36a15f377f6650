"""The liveness checks of the heartbeat: what counts as progress, and what as stalled."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from streamcanary.alerting.engine.inputs import Tick
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.notify.delivery.result import Accepted, DeliveryResult, Refused, Retry
from streamcanary.alerting.service.liveness import (
    DeliveryFailure,
    LivenessTracker,
    failing_state_receiver_reason,
    refused_notification_reason,
)
from streamcanary.alerting.service.service import AlertingService
from streamcanary.model.alerts.incident import Action, Group, Notification, NotificationState
from streamcanary.model.outcome import BudgetState, Outcome, OutcomeKind
from streamcanary.store.database import Store
from support.alerting.builders import CHAT, NOON, EngineHarness, a_run, alerts, bad, good, webhook_config
from support.alerting.service import (
    OUTAGE,
    UnreliableStore,
    enqueue_outcomes,
    running_service,
    wait_until,
    webhooks_config,
)
from support.clock import ManualClock
from support.servers.receiver import FakeReceiver, Reply

QUARTER = 15 * 60
DOWN = Retry(reason="HTTP 500")
REVOKED = Refused("HTTP 403: the key was revoked")


def pending_notification(number: int = 1, **changes: Any) -> Notification:
    """Build a pending trigger to ``hook``."""
    notification = Notification(
        id=f"n{number}",
        receiver="hook",
        group=f"g{number}",
        action=Action.TRIGGER,
        opened=NOON,
        sequence=number,
        members=(),
        created=NOON,
        next_attempt=NOON,
    )
    return msgspec.structs.replace(notification, **changes)


def liveness_tracker(clock: ManualClock) -> LivenessTracker:
    """Create the tracker of an alerting service that has just started, without state receivers."""
    return LivenessTracker([CHAT], {}, clock)


class SimulatedTracking:
    """A :class:`LivenessTracker` that is updated every five seconds, as in a daemon."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.tracker = liveness_tracker(self.clock)

    def wait(self, seconds: float, *notifications: Notification) -> str | None:
        """Advance the clock while ``notifications`` are stored; return the result of the outbox check."""
        there = {notification.id: notification for notification in notifications}
        self.tracker.track_pending(there)
        while seconds > 0:
            self.clock.advance(min(5.0, seconds))
            seconds -= 5.0
            self.tracker.track_pending(there)
        return self.tracker.check_outbox(there)


# ---- runs


def skipped_run(reason: str, budget: BudgetState | None = None) -> Outcome:
    """Build the outcome of a skipped run."""
    return a_run(9, OutcomeKind.SKIPPED, reason=reason, budget=budget)


@pytest.mark.parametrize(
    ("outcome", "is_live"),
    [
        (good(9), True),
        (bad(9), True),
        (a_run(9, OutcomeKind.INTERNAL_ERROR), True),
        (skipped_run("overlap"), False),
        (skipped_run("late"), False),
        (skipped_run("late: 7 runs"), False),
        (skipped_run("shutdown"), False),
        (skipped_run("budget", BudgetState.SLOWED), True),
        (skipped_run("budget", BudgetState.EXHAUSTED), True),
        (skipped_run("standby"), True),
    ],
    ids=lambda value: value if isinstance(value, bool) else f"{value.kind}-{value.reason}",
)
def test_run_counts_if_it_is_a_sign_of_liveness(outcome: Outcome, is_live: bool) -> None:
    """A run counts if it has ended or was skipped on purpose, but not if the previous run hangs."""
    clock = ManualClock()
    tracker = liveness_tracker(clock)
    clock.advance(159)
    tracker.record_run(outcome)
    clock.advance(2)
    assert (None if is_live else "no run has ended for 2m41s") == tracker.check_runs()


def test_clock_step_back_delays_the_check_of_runs_only_briefly() -> None:
    """After a clock step back, the full time until runs count as missed begins again."""
    clock = ManualClock()
    tracker = liveness_tracker(clock)
    clock.step(-86400)
    tracker.track_pending({})
    clock.advance(159)
    assert None is tracker.check_runs()
    clock.advance(2)
    assert "no run has ended for 2m41s" == tracker.check_runs()


# ---- the outbox


@pytest.mark.parametrize(
    ("seconds", "expected"), [(900, None), (905, "receiver hook has accepted no notification for 15m5s (HTTP 500)")]
)
def test_outbox_is_stalled_when_a_receiver_accepts_nothing_for_15_minutes(seconds: float, expected: str | None) -> None:
    """The outbox is stalled after 15 minutes in which a receiver accepts none of its notifications, sent or not."""
    assert expected == SimulatedTracking().wait(
        seconds, pending_notification(attempts=3, last_error="HTTP 500"), pending_notification(2)
    )


@pytest.mark.parametrize("state", [NotificationState.ACCEPTED, NotificationState.PARKED])
def test_accepted_and_refused_notifications_are_not_pending(state: NotificationState) -> None:
    """An accepted or refused notification never stalls the outbox, whatever its age."""
    assert None is SimulatedTracking().wait(9000, pending_notification(attempts=9, state=state))


def test_queue_that_makes_progress_is_not_stalled() -> None:
    """A long queue that makes progress at the rate of its receiver is not stalled."""
    tracking, notifications = SimulatedTracking(), [pending_notification(number) for number in range(60)]
    while notifications:
        assert None is tracking.wait(60, *notifications)
        tracking.tracker.record_delivery("hook")
        del notifications[0]


def test_receiver_is_stalled_independently_of_others() -> None:
    """A receiver that accepts nothing is stalled even if another one accepts its notifications."""
    tracking, notifications = SimulatedTracking(), (pending_notification(1), pending_notification(2, receiver="chat"))
    for _ in range(15):
        assert None is tracking.wait(60, *notifications)
        tracking.tracker.record_delivery("chat")
    assert "receiver hook has accepted no notification for 15m5s" == tracking.wait(5, *notifications)


def test_notification_is_stalled_independently_of_others_of_its_receiver() -> None:
    """A notification that fails again and again is stalled even if its receiver accepts others."""
    tracking, notifications = (
        SimulatedTracking(),
        (pending_notification(1, attempts=5, last_error="HTTP 500"), pending_notification(2)),
    )
    for _ in range(15):
        assert None is tracking.wait(60, *notifications)
        tracking.tracker.record_delivery("hook")
    assert "receiver hook has accepted no notification for 15m5s (HTTP 500)" == tracking.wait(5, *notifications)


def test_retried_refused_notification_starts_to_wait_again() -> None:
    """The waiting time of a refused notification begins when it is pending again."""
    tracking, parked = (
        SimulatedTracking(),
        pending_notification(attempts=7, refusals=7, park_count=1, state=NotificationState.PARKED),
    )
    assert None is tracking.wait(4 * 3600, parked)
    assert None is tracking.wait(0, msgspec.structs.replace(parked, state=NotificationState.PENDING))


def test_wall_clock_step_does_not_age_notifications() -> None:
    """A step of the wall clock does not add to the waiting time."""
    tracking, page = SimulatedTracking(), pending_notification(attempts=1)
    assert None is tracking.wait(60, page)
    tracking.clock.step(3600)
    assert None is tracking.wait(0, page)


async def test_pending_notifications_are_tracked_between_heartbeats(store: Store) -> None:
    """Pending notifications are tracked by the service between two heartbeats, which may be a day apart."""
    clock = ManualClock()
    async with (
        FakeReceiver(always=Reply(500)) as hook,
        running_service(store, webhooks_config(hook=hook), clock) as alerting,
    ):
        enqueue_outcomes(alerting, OUTAGE)
        await hook.wait_for_deliveries(1)
        clock.advance(6)
        alerting.wake()
        await wait_until(lambda: alerting._last_tick == clock.monotonic())
        clock.advance(901)
        assert (alerting.liveness_checks()["outbox"]() or "").startswith(
            "receiver hook has accepted no notification for 15m1s"
        )


@pytest.mark.parametrize(("outcome", "moves"), [("accepted", True), ("refused", True), ("retried", False)])
def test_accepted_or_refused_delivery_is_progress_of_the_outbox(outcome: str, moves: bool) -> None:
    """An accepted or refused delivery is progress of the outbox, a retried one is not."""
    clock = ManualClock()
    alerting = AlertingService(config=alerts(), instance="i", canaries=[CHAT], store=UnreliableStore(None), clock=clock)
    alerting._published = State(notifications={"n1": pending_notification(attempts=1)})
    outbox = alerting.liveness_checks()["outbox"]
    assert None is outbox()
    clock.advance(800)
    alerting.record_delivery("hook", outcome)
    clock.advance(200)
    assert moves is (outbox() is None)


# ---- refused notifications

Refusals = dict[str, DeliveryResult]


def outage_with_results(results: Refusals, **sections: Any) -> EngineHarness:
    """Build an outage of ``chat`` whose trigger has the given ``results`` at each receiver."""
    receivers = {name: webhook_config() for name in results} | sections.pop("receivers", {})
    world = EngineHarness(alerts(receivers=receivers, **sections))
    world.observe(bad, bad, bad)
    for name, answer in results.items():
        world.deliver(name, answer)
    return world


def refused_reason(world: EngineHarness, *state_receivers: str) -> str | None:
    """Return the result of the check for refused notifications."""
    return refused_notification_reason(world.state.groups, world.state.notifications, state_receivers, world.now)


def test_trigger_that_all_receivers_refused_fails_the_check_after_15_minutes() -> None:
    """A trigger that its only receiver has refused fails the check after 15 minutes."""
    world = outage_with_results({"hook": REVOKED})
    assert [()] == [group.receivers for group in world.state.groups.values() if "subject" in group.labels]
    world.now += QUARTER
    assert None is refused_reason(world)
    world.now += 1
    assert (
        "no receiver has accepted the notification of alert=Errors, canary=chat for 15m1s; refused by hook "
        "(HTTP 403: the key was revoked)"
    ) == refused_reason(world)


def test_refused_trigger_fails_the_check_while_it_is_retried() -> None:
    """The check also fails while a refused trigger is pending again at each repetition."""
    world = outage_with_results({"hook": REVOKED}, repeat_interval="30m")
    for _ in range(3):
        world.now += 1801
        world.step(Tick())
        assert [NotificationState.PENDING] == [
            notification.state for notification in world.state.notifications.values()
        ]
        assert refused_reason(world) is not None
        world.deliver("hook", REVOKED)
        assert refused_reason(world) is not None


def accept_next_delivery(world: EngineHarness) -> None:
    world.step(Tick())
    world.deliver("hook", Accepted())


def resolve_outage(world: EngineHarness) -> None:
    world.observe(good)


@pytest.mark.parametrize("end", [accept_next_delivery, resolve_outage])
def test_check_passes_after_acceptance_or_recovery(end: Callable[[EngineHarness], None]) -> None:
    """The check passes once the trigger is accepted or the outage has ended."""
    world = outage_with_results({"hook": REVOKED}, repeat_interval="30m")
    world.now += 1801
    assert refused_reason(world) is not None
    end(world)
    assert None is refused_reason(world)


@pytest.mark.parametrize("results", [{"hook": REVOKED, "chat": Accepted()}, {"hook": REVOKED, "chat": DOWN}])
def test_trigger_that_one_receiver_has_not_refused_passes_the_check(results: Refusals) -> None:
    """A trigger that one receiver has accepted, or that is pending at one, passes the check."""
    world = outage_with_results(results)
    world.now += 3600
    assert None is refused_reason(world)


def test_trigger_that_two_receivers_refused_fails_the_check() -> None:
    """A trigger that both of its receivers have refused fails the check."""
    world = outage_with_results({"hook": REVOKED, "chat": REVOKED})
    world.now += 3600
    assert "refused by hook, chat" in (refused_reason(world) or "")


def test_group_with_a_state_receiver_passes_the_check() -> None:
    """A group that is also sent to a state receiver passes the check, as that receiver is checked separately."""
    prom = {"type": "alertmanager", "urls": ["http://127.0.0.1:9"]}
    world = outage_with_results({"hook": REVOKED}, receivers={"prom": prom})
    world.now += 3600
    assert None is refused_reason(world, "prom")
    assert refused_reason(world) is not None


def test_clock_step_back_does_not_hide_a_refused_trigger() -> None:
    """A clock step back of a day does not hide a refused trigger."""
    world = outage_with_results({"hook": REVOKED})
    world.now -= 86400
    assert refused_reason(world) is not None


# ---- state receivers


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ([DeliveryFailure(0, "HTTP 503")], "no address of receiver prom has accepted alerts for 15m1s (HTTP 503)"),
        (
            [DeliveryFailure(0, "HTTP 503"), DeliveryFailure(0, "HTTP 400")],
            "no address of receiver prom has accepted alerts for 15m1s (HTTP 400)",
        ),
        ([DeliveryFailure(0, "HTTP 503"), None], None),
        ([DeliveryFailure(0, "HTTP 503"), DeliveryFailure(2, "HTTP 503")], None),
        ([None], None),
    ],
)
def test_state_receiver_is_stalled_when_all_of_its_addresses_fail(
    addresses: list[DeliveryFailure | None], expected: str | None
) -> None:
    """A state receiver is stalled when all of its addresses fail, as one peer of a cluster informs the others."""
    assert expected == failing_state_receiver_reason({"well": [None], "prom": addresses}, QUARTER + 1)


def test_group_without_notifications_passes_the_check() -> None:
    """A group that has receivers and no notification yet passes the check."""
    group = Group(key="g1", receivers=("hook",), opened=NOON)
    assert None is refused_notification_reason({"g1": group}, {}, (), NOON + 9000)
