"""What the heartbeat asks: what counts as progress, and what as a standstill."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from streamcanary.alerting.engine.inputs import Tick
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.notify.receivers.delivery_result import Accepted, DeliveryResult, Refused, Retry
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


def a_notice(number: int = 1, **changes: Any) -> Notification:
    """Build a page to ``hook`` that waits."""
    notice = Notification(
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
    return msgspec.structs.replace(notice, **changes)


def an_advance(clock: ManualClock) -> LivenessTracker:
    """Make the record of an alerting that has just begun, and tells nobody at level."""
    return LivenessTracker([CHAT], {}, clock)


class Looking:
    """An :class:`Advance` that looks every five seconds, as a daemon does."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.advance = an_advance(self.clock)

    def wait(self, seconds: float, *notices: Notification) -> str | None:
        """Let time pass while ``notices`` are there; return what the outbox says then."""
        there = {notice.id: notice for notice in notices}
        self.advance.track_pending(there)
        while seconds > 0:
            self.clock.advance(min(5.0, seconds))
            seconds -= 5.0
            self.advance.track_pending(there)
        return self.advance.check_outbox(there)


# ---- runs


def left_out(reason: str, budget: BudgetState | None = None) -> Outcome:
    """Build the outcome of a run that did not happen."""
    return a_run(9, OutcomeKind.SKIPPED, reason=reason, budget=budget)


@pytest.mark.parametrize(
    ("outcome", "counts"),
    [
        (good(9), True),
        (bad(9), True),
        (a_run(9, OutcomeKind.INTERNAL_ERROR), True),
        (left_out("overlap"), False),
        (left_out("late"), False),
        (left_out("late: 7 runs"), False),
        (left_out("shutdown"), False),
        (left_out("budget", BudgetState.SLOWED), True),
        (left_out("budget", BudgetState.EXHAUSTED), True),
        (left_out("standby"), True),
    ],
    ids=lambda value: value if isinstance(value, bool) else f"{value.kind}-{value.reason}",
)
def test_a_run_counts_if_it_shows_that_runs_go_on(outcome: Outcome, counts: bool) -> None:
    """It has ended, or was left out on purpose. That the run before it hangs shows the contrary."""
    clock = ManualClock()
    advance = an_advance(clock)
    clock.advance(159)
    advance.record_run(outcome)
    clock.advance(2)
    assert (None if counts else "no run has ended for 2m41s") == advance.check_runs()


def test_a_clock_that_was_set_back_hides_no_standstill_for_long() -> None:
    """From the moment at which that is seen, it is as long as ever until runs are missed."""
    clock = ManualClock()
    advance = an_advance(clock)
    clock.step(-86400)
    advance.track_pending({})
    clock.advance(159)
    assert None is advance.check_runs()
    clock.advance(2)
    assert "no run has ended for 2m41s" == advance.check_runs()


# ---- the outbox


@pytest.mark.parametrize(("seconds", "says"), [(900, None), (905, "hook has not taken a notice for 15m5s (HTTP 500)")])
def test_the_outbox_stands_still_when_a_receiver_takes_nothing_for_a_quarter_of_an_hour(
    seconds: float, says: str | None
) -> None:
    """Of what waits for it, tried or not."""
    assert says == Looking().wait(seconds, a_notice(attempts=3, last_error="HTTP 500"), a_notice(2))


@pytest.mark.parametrize("state", [NotificationState.ACCEPTED, NotificationState.PARKED])
def test_what_was_taken_or_refused_waits_for_nothing(state: NotificationState) -> None:
    """However old it is."""
    assert None is Looking().wait(9000, a_notice(attempts=9, state=state))


def test_a_queue_that_moves_does_not_stand_still() -> None:
    """Thousands of pages at the pace of the receiver: the last of them wait for long."""
    looking, notices = Looking(), [a_notice(number) for number in range(60)]
    while notices:
        assert None is looking.wait(60, *notices)
        looking.advance.record_delivery("hook")
        del notices[0]


def test_a_receiver_that_takes_nothing_stands_still_whatever_others_take() -> None:
    """Each is looked at on its own."""
    looking, notices = Looking(), (a_notice(1), a_notice(2, receiver="chat"))
    for _ in range(15):
        assert None is looking.wait(60, *notices)
        looking.advance.record_delivery("chat")
    assert "hook has not taken a notice for 15m5s" == looking.wait(5, *notices)


def test_a_page_that_is_never_taken_stands_still_whatever_else_its_receiver_takes() -> None:
    """It fails at this one, again and again."""
    looking, notices = Looking(), (a_notice(1, attempts=5, last_error="HTTP 500"), a_notice(2))
    for _ in range(15):
        assert None is looking.wait(60, *notices)
        looking.advance.record_delivery("hook")
    assert "hook has not taken a notice for 15m5s (HTTP 500)" == looking.wait(5, *notices)


def test_an_old_page_that_is_tried_again_has_only_begun_to_wait() -> None:
    """It was refused hours ago, and has something else to say now."""
    looking, refused = Looking(), a_notice(attempts=7, refusals=7, park_count=1, state=NotificationState.PARKED)
    assert None is looking.wait(4 * 3600, refused)
    assert None is looking.wait(0, msgspec.structs.replace(refused, state=NotificationState.PENDING))


def test_a_wall_clock_that_jumps_makes_nothing_older() -> None:
    """A machine that slept has had no time to tell anybody."""
    looking, page = Looking(), a_notice(attempts=1)
    assert None is looking.wait(60, page)
    looking.clock.step(3600)
    assert None is looking.wait(0, page)


async def test_it_is_looked_at_while_nobody_asks(store: Store) -> None:
    """The heart may beat once a day."""
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
        assert (alerting.liveness_checks()["outbox"]() or "").startswith("hook has not taken a notice for 15m1s")


@pytest.mark.parametrize(("outcome", "moves"), [("accepted", True), ("refused", True), ("retried", False)])
def test_an_answer_moves_the_outbox_if_it_settles_something(outcome: str, moves: bool) -> None:
    """What is to be tried again is where it was."""
    clock = ManualClock()
    alerting = AlertingService(config=alerts(), instance="i", canaries=[CHAT], store=UnreliableStore(None), clock=clock)
    alerting._published = State(notifications={"n1": a_notice(attempts=1)})
    outbox = alerting.liveness_checks()["outbox"]
    assert None is outbox()
    clock.advance(800)
    alerting.record_delivery("hook", outcome)
    clock.advance(200)
    assert moves is (outbox() is None)


# ---- pages that were refused

Refusals = dict[str, DeliveryResult]


def an_outage(answers: Refusals, **sections: Any) -> EngineHarness:
    """Let ``chat`` go down, and each of the receivers answer to the page of it what ``answers`` say."""
    receivers = {name: webhook_config() for name in answers} | sections.pop("receivers", {})
    world = EngineHarness(alerts(receivers=receivers, **sections))
    world.observe(bad, bad, bad)
    for name, answer in answers.items():
        world.deliver(name, answer)
    return world


def refused(world: EngineHarness, *levels: str) -> str | None:
    """Return what is said of pages that nobody has taken."""
    return refused_notification_reason(world.state.groups, world.state.notifications, levels, world.now)


def test_a_page_that_all_have_refused_stands_still_after_a_quarter_of_an_hour() -> None:
    """There is nobody else who could be told."""
    world = an_outage({"hook": REVOKED})
    assert [()] == [group.receivers for group in world.state.groups.values() if "subject" in group.labels]
    world.now += QUARTER
    assert None is refused(world)
    world.now += 1
    assert (
        "nobody has taken the page of alert=Errors, canary=chat for 15m1s, it was refused by hook "
        "(HTTP 403: the key was revoked)"
    ) == refused(world)


def test_that_lasts_while_it_is_tried_again() -> None:
    """At each repetition, the page waits for a moment before it is refused again."""
    world = an_outage({"hook": REVOKED}, repeat_interval="30m")
    for _ in range(3):
        world.now += 1801
        world.step(Tick())
        assert [NotificationState.PENDING] == [notice.state for notice in world.state.notifications.values()]
        assert refused(world) is not None
        world.deliver("hook", REVOKED)
        assert refused(world) is not None


def mend(world: EngineHarness) -> None:
    world.step(Tick())
    world.deliver("hook", Accepted())


def recover(world: EngineHarness) -> None:
    world.observe(good)


@pytest.mark.parametrize("end", [mend, recover])
def test_that_is_over_with_the_page_or_with_what_it_tells_of(end: Callable[[EngineHarness], None]) -> None:
    """Somebody has taken it, or there is nothing to tell."""
    world = an_outage({"hook": REVOKED}, repeat_interval="30m")
    world.now += 1801
    assert refused(world) is not None
    end(world)
    assert None is refused(world)


@pytest.mark.parametrize("answers", [{"hook": REVOKED, "chat": Accepted()}, {"hook": REVOKED, "chat": DOWN}])
def test_a_page_that_one_has_taken_or_may_take_is_no_such_page(answers: Refusals) -> None:
    """The one tells people, and of the other the outbox has more to say."""
    world = an_outage(answers)
    world.now += 3600
    assert None is refused(world)


def test_a_page_that_two_have_refused_is() -> None:
    """Whichever of them it is, none has it."""
    world = an_outage({"hook": REVOKED, "chat": REVOKED})
    world.now += 3600
    assert "it was refused by hook, chat" in (refused(world) or "")


def test_a_level_receiver_that_is_told_of_it_counts() -> None:
    """Whether that one takes what it is told is looked at elsewhere."""
    prom = {"type": "alertmanager", "urls": ["http://127.0.0.1:9"]}
    world = an_outage({"hook": REVOKED}, receivers={"prom": prom})
    world.now += 3600
    assert None is refused(world, "prom")
    assert refused(world) is not None


def test_a_clock_that_was_set_back_does_not_hide_it() -> None:
    """A day would be long."""
    world = an_outage({"hook": REVOKED})
    world.now -= 86400
    assert refused(world) is not None


# ---- level receivers


@pytest.mark.parametrize(
    ("addresses", "says"),
    [
        ([DeliveryFailure(0, "HTTP 503")], "prom has taken nothing for 15m1s (HTTP 503)"),
        (
            [DeliveryFailure(0, "HTTP 503"), DeliveryFailure(0, "HTTP 400")],
            "prom has taken nothing for 15m1s (HTTP 400)",
        ),
        ([DeliveryFailure(0, "HTTP 503"), None], None),
        ([DeliveryFailure(0, "HTTP 503"), DeliveryFailure(2, "HTTP 503")], None),
        ([None], None),
    ],
)
def test_a_level_receiver_stands_still_when_none_of_its_addresses_takes_anything(
    addresses: list[DeliveryFailure | None], says: str | None
) -> None:
    """One peer of an Alertmanager tells the others."""
    assert says == failing_state_receiver_reason({"well": [None], "prom": addresses}, QUARTER + 1)


def test_groups_that_were_not_told_of_are_not_looked_at() -> None:
    """Their receivers are known before there is a page."""
    group = Group(key="g1", receivers=("hook",), opened=NOON)
    assert None is refused_notification_reason({"g1": group}, {}, (), NOON + 9000)
