"""A clock that is set back delays no page, no update and no resolve."""

from streamcanary.alerting.notify.receivers.delivery_result import Retry
from support.alerting.builders import good
from support.alerting.groups import announced, grouped, later, runs, told


def test_a_clock_that_is_set_back_makes_no_wait_longer() -> None:
    """Or a page would come a day late, and so would an update."""
    world = grouped()
    runs(world, "c0")
    later(world, -86400)
    later(world, 10)
    assert ("trigger", {"c0": True}) == told(world.deliver())
    runs(world, "c1")
    later(world, -86400)
    later(world, 300)
    assert ("update", {"c0": True, "c1": True}) == told(world.deliver())


def test_a_clock_that_passes_the_last_page_again_makes_no_wait_longer() -> None:
    """Set back, it reaches for the second time the moment at which receivers were told last."""
    world = announced(3, group_interval="1m")
    later(world, 20)
    later(world, -60)
    runs(world, "c1")
    waited = 0
    while (update := world.deliver()) is None:
        later(world, 5)
        waited += 5
    assert (("update", {"c0": True, "c1": True}), 60) == (told(update), waited)


def test_a_resolve_that_was_never_tried_does_not_wait_for_a_clock_that_was_set_back() -> None:
    """It is as due as it was."""
    world = announced()
    runs(world, "c0", run=good)
    world.now -= 86400
    assert "resolve" == told(world.deliver())[0]


def test_what_a_receiver_held_back_does_not_wait_for_a_clock_that_was_set_back() -> None:
    """It asked for a minute, and gets a minute."""
    world = grouped(2, group_by=["canary"])
    runs(world, "c0", "c1")
    later(world, 10)
    later(world, 4000)
    world.deliver(answer=Retry(reason="HTTP 429", after=60.0, definite=True))
    later(world, -3000)
    later(world, 60)
    assert ["trigger", "trigger"] == [told(world.deliver())[0], told(world.deliver())[0]]
