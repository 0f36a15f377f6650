"""A clock that is set back delays no page, no update and no resolve."""

from streamcanary.alerting.notify.receivers.delivery_result import Retry
from support.alerting.builders import good
from support.alerting.groups import advance, grouped_harness, notified_harness, run_canaries, summarize


def test_a_clock_that_is_set_back_makes_no_wait_longer() -> None:
    """Or a page would come a day late, and so would an update."""
    world = grouped_harness()
    run_canaries(world, "c0")
    advance(world, -86400)
    advance(world, 10)
    assert ("trigger", {"c0": True}) == summarize(world.deliver())
    run_canaries(world, "c1")
    advance(world, -86400)
    advance(world, 300)
    assert ("update", {"c0": True, "c1": True}) == summarize(world.deliver())


def test_a_clock_that_passes_the_last_page_again_makes_no_wait_longer() -> None:
    """Set back, it reaches for the second time the moment at which receivers were told last."""
    world = notified_harness(3, group_interval="1m")
    advance(world, 20)
    advance(world, -60)
    run_canaries(world, "c1")
    waited = 0
    while (update := world.deliver()) is None:
        advance(world, 5)
        waited += 5
    assert (("update", {"c0": True, "c1": True}), 60) == (summarize(update), waited)


def test_a_resolve_that_was_never_tried_does_not_wait_for_a_clock_that_was_set_back() -> None:
    """It is as due as it was."""
    world = notified_harness()
    run_canaries(world, "c0", run=good)
    world.now -= 86400
    assert "resolve" == summarize(world.deliver())[0]


def test_what_a_receiver_held_back_does_not_wait_for_a_clock_that_was_set_back() -> None:
    """It asked for a minute, and gets a minute."""
    world = grouped_harness(2, group_by=["canary"])
    run_canaries(world, "c0", "c1")
    advance(world, 10)
    advance(world, 4000)
    world.deliver(answer=Retry(reason="HTTP 429", retry_after=60.0, is_definitely_undelivered=True))
    advance(world, -3000)
    advance(world, 60)
    assert ["trigger", "trigger"] == [summarize(world.deliver())[0], summarize(world.deliver())[0]]
