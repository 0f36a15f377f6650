"""``ReceiverFailing``: who takes nothing for minutes fails, too, and once well again gets what was kept."""

from streamcanary.alerting.engine import notification_queue
from streamcanary.alerting.engine.inputs import SendFinished, Started
from streamcanary.alerting.notify.receivers.delivery_result import Accepted, Refused, Retry
from support.alerting.builders import EngineHarness, alerts, bad, good, webhook_config
from support.alerting.groups import advance, grouped_harness, run_canaries

TWO_HOOKS = {"hook": webhook_config(), "other": webhook_config()}
DOWN = Retry(reason="no answer within 10s")
BUSY = Retry(reason="HTTP 429", retry_after=600.0, is_definitely_undelivered=True)


def fired(**sections) -> EngineHarness:
    """Build a world in which ``chat`` has failed three times."""
    world = EngineHarness(alerts(**sections))
    world.observe(bad, bad, bad)
    return world


def try_for(world: EngineHarness, seconds: float) -> None:
    """Let ``hook`` answer nothing for so long."""
    end = world.now + seconds
    while world.now < end:
        world.deliver("hook", DOWN)
        advance(world, 10)


def test_a_receiver_that_takes_nothing_for_five_minutes_is_told_to_the_others() -> None:
    """Once; a page of two minutes is only late."""
    world = fired(receivers=TWO_HOOKS)
    assert [("trigger", "Errors")] == world.deliver_all("other")
    try_for(world, notification_queue.FAILING_AFTER - 20)
    assert [] == world.deliver_all("other")
    try_for(world, 120)
    assert [("trigger", "ReceiverFailing")] == world.deliver_all("other")
    try_for(world, 600)
    assert [] == world.deliver_all("other")
    world.now += 60
    world.deliver("hook")
    assert [("resolve", "ReceiverFailing")] == world.deliver_all("other")


def test_a_clock_that_jumps_makes_no_receiver_fail() -> None:
    """One try in vain, hours ago by the clock, is one try."""
    world = fired(receivers=TWO_HOOKS)
    world.deliver("hook", DOWN)
    world.now += 7200
    world.deliver("hook", DOWN)
    assert [("trigger", "Errors")] == world.deliver_all("other")


def test_a_receiver_that_fails_and_is_owed_nothing_is_not_repeated() -> None:
    """It is over once it accepts something; until then there is nothing new to say."""
    world = fired(receivers=TWO_HOOKS, repeat_interval="1h")
    world.deliver("hook", Refused("HTTP 403"))
    assert [("trigger", "Errors"), ("trigger", "ReceiverFailing")] == world.deliver_all("other")
    advance(world, 3600)
    assert [("update", "Errors"), ("update", "ReceiverFailing")] == world.deliver_all("other")
    world.deliver("hook", Refused("HTTP 403"))
    world.observe(good, good, good)
    world.now += 3600
    assert [("resolve", "Errors")] == world.deliver_all("other")
    for _ in range(5):
        advance(world, 3600)
        assert [] == world.deliver_all("other")


def test_what_was_refused_is_tried_again_once_the_receiver_accepts_something() -> None:
    """It does not wait for its repetition, or a start."""
    world = grouped_harness(2, group_by=["canary"], receivers=TWO_HOOKS)
    run_canaries(world, "c0")
    advance(world, 10)
    world.deliver("hook", Refused("HTTP 403"))
    assert world.deliver("hook") is None
    run_canaries(world, "c1")
    advance(world, 10)
    page, kept = world.deliver("hook"), world.deliver("hook")
    assert page is not None
    assert kept is not None
    assert [["c1"], ["c0"]] == [[one.canary for one in notice.members] for notice in (page, kept)]


def test_what_is_refused_for_good_is_not_tried_again_for_ever() -> None:
    """A receiver that takes all but one page is not sent that one with each other page."""
    world = grouped_harness(30, group_by=["canary"], receivers=TWO_HOOKS)
    run_canaries(world, "c0")
    advance(world, 10)
    tries = 0
    for number in range(1, 30):
        run_canaries(world, f"c{number}")
        advance(world, 10)
        while notice := world.start_send("hook"):
            mine = notice.members[0].canary == "c0"
            tries += mine
            world.step(SendFinished(notice.id, Refused("HTTP 400") if mine else Accepted(), 0.0))
    assert 3 == tries


def test_who_asked_to_be_left_alone_is_for_what_comes_later_too() -> None:
    """``Retry-After`` is for the receiver, not for the one page that it answered."""
    world = grouped_harness(2, group_by=["canary"])
    run_canaries(world, "c0")
    advance(world, 10)
    world.deliver("hook", BUSY)
    run_canaries(world, "c1")
    advance(world, 599)
    assert world.deliver() is None
    advance(world, 1)
    assert ["trigger", "trigger"] == [action for action, _ in world.deliver_all()]


def test_an_alert_that_is_over_before_its_page_arrived_is_told_to_nobody() -> None:
    """Each try was certainly not taken, so there is nothing to call off."""
    world = fired()
    world.deliver(answer=BUSY)
    world.observe(good, good, good)
    world.now += 700
    assert [] == world.deliver_all()


def test_a_start_with_a_mended_receiver_ends_its_failing() -> None:
    """What it refused is tried, and taken."""
    world = fired(receivers=TWO_HOOKS)
    world.deliver("hook", Refused("HTTP 403"))
    assert [("trigger", "Errors"), ("trigger", "ReceiverFailing")] == world.deliver_all("other")
    world.crash()
    world.step(Started())
    assert [("trigger", "Errors")] == world.deliver_all("hook")
    assert [("resolve", "ReceiverFailing")] == world.deliver_all("other")
