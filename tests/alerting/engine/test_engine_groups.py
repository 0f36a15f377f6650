"""Groups: what fails at once is one page, what changes is told now and then, what is over is told at once."""

from streamcanary.alerting.engine.active_alerts import standing
from streamcanary.alerting.engine.inputs import Started, StoreFailed
from streamcanary.alerting.notify.receivers.delivery_result import Refused, Retry
from streamcanary.model.alerts.incident import MOST_MEMBERS, Action
from support.alerting.builders import World, a_hook, alerts, good
from support.alerting.groups import ONE_FAILURE, announced, answer, fleet, grouped, later, runs, told

PROM = {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]}


# ---- the first page


def test_what_fails_at_once_is_one_page() -> None:
    """It waits for ``group_wait`` from the first failure, and names all that came in that time."""
    world = grouped()
    runs(world, "c0")
    later(world, 5)
    runs(world, "c1", "c2")
    assert world.deliver() is None
    later(world, 4.9)
    assert world.deliver() is None
    later(world, 0.1)
    assert ("trigger", {"c0": True, "c1": True, "c2": True}) == told(world.deliver())
    assert world.deliver() is None


def test_a_blip_shorter_than_the_wait_says_nothing() -> None:
    """Neither that it fires nor that it is over."""
    world = grouped()
    runs(world, "c0")
    later(world, 5)
    runs(world, "c0", run=good)
    later(world, 60)
    assert ({}, []) == (world.state.notices, world.firing)


def test_who_is_well_again_before_the_page_is_not_on_it() -> None:
    """The others are."""
    world = grouped()
    runs(world, "c0", "c1")
    runs(world, "c0", run=good)
    later(world, 10)
    assert ("trigger", {"c1": True}) == told(world.deliver())


def test_the_wait_outlives_a_crash() -> None:
    """It is over when it would have been."""
    world = grouped()
    runs(world, "c0")
    world.crash()
    world.step(Started())
    assert world.state.notices == {}
    later(world, 10)
    assert ("trigger", {"c0": True}) == told(world.deliver())


def test_alerts_about_the_daemon_wait_for_nothing() -> None:
    """There is nothing that they could be told together with."""
    world = grouped()
    world.step(StoreFailed("disk full"))
    assert world.deliver_all() == [("trigger", "StoreFailing")]


def test_what_differs_in_a_label_of_the_group_is_told_apart() -> None:
    """And a label that nobody has makes no difference."""
    world = grouped(2, group_by=["canary", "no_such_label"])
    runs(world, "c0", "c1")
    later(world, 10)
    assert [{"canary": "c0"}, {"canary": "c1"}] == [group.labels for group in world.state.groups.values()]
    assert [("trigger", "Errors")] * 2 == world.deliver_all()


# ---- updates


def test_who_joins_and_who_leaves_is_one_update() -> None:
    """At ``group_interval`` after the last word, however many they are."""
    world = announced(4, "c0", "c1")
    later(world, 20)
    runs(world, "c2")
    later(world, 20)
    runs(world, "c3")
    runs(world, "c0", run=good)
    later(world, 259)
    assert world.deliver() is None
    later(world, 1)
    assert ("update", {"c1": True, "c2": True, "c3": True, "c0": False}) == told(world.deliver())
    later(world, 3600)
    assert world.deliver() is None


def test_who_joins_and_leaves_between_two_words_is_never_named() -> None:
    """Nothing has changed."""
    world = announced()
    runs(world, "c1")
    runs(world, "c1", run=good)
    later(world, 600)
    assert world.deliver() is None


def test_who_leaves_and_comes_back_between_two_words_was_never_away() -> None:
    """Receivers have not heard that it was over."""
    world = announced()
    runs(world, "c0", "c1")
    runs(world, "c0", run=good)
    later(world, 30)
    runs(world, "c0")
    runs(world, "c1", run=good)
    later(world, 600)
    assert world.deliver() is None


def test_what_does_not_end_is_told_again() -> None:
    """Each ``repeat_interval``."""
    world = announced()
    for _ in range(3):
        later(world, 4 * 3600 - 1)
        assert world.deliver() is None
        later(world, 1)
        assert ("update", {"c0": True}) == told(world.deliver())


def test_the_end_of_the_last_is_told_at_once() -> None:
    """No interval is waited for, and the end says what it is the end of."""
    world = announced(3, "c0", "c1")
    runs(world, "c0", "c1", run=good)
    assert ("resolve", {"c0": False, "c1": False}) == told(world.deliver())
    assert world.state.notices == {}


# ---- behind a receiver that is slow, or refuses


def test_updates_behind_a_dead_receiver_are_one() -> None:
    """It hears how things stand, not how they came to."""
    world = announced(9)
    for number in range(1, 9):
        runs(world, f"c{number}")
        later(world, 300)
    assert ("update", {f"c{number}": True for number in range(9)}) == told(world.deliver())
    assert world.deliver() is None


def test_updates_that_were_tried_do_not_pile_up() -> None:
    """The page, one update, and its end is all that is kept, whether updates are refused or get no answer."""
    for says in (Retry(reason="no answer"), Refused("HTTP 400"), Retry(reason="HTTP 429", definite=True)):
        world = announced(9, receivers={"hook": a_hook(), "other": a_hook()}, routes=[{"receivers": ["hook"]}])
        for number in range(1, 9):
            runs(world, f"c{number}")
            later(world, 300)
            world.deliver(answer=says)
            mine = [notice for notice in world.state.notices.values() if notice.receiver == "hook"]
            assert [Action.TRIGGER, Action.UPDATE] == [notice.action for notice in mine]
        runs(world, *(f"c{number}" for number in range(9)), run=good)
        mine = [notice for notice in world.state.notices.values() if notice.receiver == "hook"]
        assert [Action.TRIGGER, Action.RESOLVE] == [notice.action for notice in mine]


def test_a_page_that_was_refused_is_tried_again_with_the_next_word() -> None:
    """At an update or a repetition, and says what is so by then."""
    world = grouped()
    runs(world, "c0")
    later(world, 10)
    world.deliver(answer=Refused("HTTP 404"))
    later(world, 100)
    runs(world, "c1")
    later(world, 200)
    assert ("trigger", {"c0": True, "c1": True}) == told(world.deliver(answer=Refused("HTTP 404")))
    later(world, 4 * 3600)
    assert ("trigger", {"c0": True, "c1": True}) == told(world.deliver())
    runs(world, "c0", "c1", run=good)
    assert "resolve" == told(world.deliver())[0]


def refused_while_another_joined() -> World:
    """Build a world in which a page is refused, and there was more to say by then."""
    world = grouped()
    runs(world, "c0")
    later(world, 10)
    sent = world.begin()
    assert sent is not None
    runs(world, "c1")
    later(world, 300)
    answer(world, sent, Refused("HTTP 404"))
    return world


def test_a_refused_page_says_at_a_start_what_receivers_were_told_last() -> None:
    """Not what it said when it was refused."""
    world = refused_while_another_joined()
    world.crash()
    world.step(Started())
    assert ("trigger", {"c0": True, "c1": True}) == told(world.deliver())


def test_a_refused_page_that_is_sent_again_does_not_run_ahead_of_its_group() -> None:
    """One member is over and that is not told yet; if it fires anew before it is, all have the right picture."""
    world = grouped()
    runs(world, "c0", "c1")
    later(world, 10)
    assert world.deliver(answer=Refused("HTTP 403")) is not None
    runs(world, "c0", run=good)
    world.crash()
    world.step(Started())
    assert ("trigger", {"c0": True, "c1": True}) == told(world.deliver())
    later(world, 300)
    assert ("update", {"c0": False, "c1": True}) == told(world.deliver())


def test_no_update_overtakes_a_page_that_was_refused() -> None:
    """What was to be said after it is not said to whom it says nothing."""
    world = refused_while_another_joined()
    assert [Action.TRIGGER] == [notice.action for notice in world.state.notices.values()]
    assert world.deliver() is None


def test_a_page_that_says_more_makes_a_waiting_update_needless() -> None:
    """It would say less, after it."""
    world = grouped()
    runs(world, "c0")
    later(world, 10)
    sent = world.begin()
    assert sent is not None
    runs(world, "c1")
    later(world, 300)
    answer(world, sent, Retry(reason="HTTP 429", definite=True))
    runs(world, "c2")
    later(world, 300)
    assert ("trigger", {"c0": True, "c1": True, "c2": True}) == told(world.deliver())
    assert world.deliver() is None


def test_refused_ends_do_not_pile_up() -> None:
    """A new outage takes over from what a receiver did not want to hear of the last one."""
    world = announced(1, receivers={"hook": a_hook(), "other": a_hook()}, routes=[{"receivers": ["hook"]}])
    for _ in range(5):
        runs(world, "c0", run=good)
        world.deliver(answer=Refused("HTTP 400"))
        later(world, 30)
        runs(world, "c0")
        later(world, 10)
        assert "trigger" == told(world.deliver())[0]
    assert 1 == sum(notice.receiver == "hook" for notice in world.state.notices.values())


def test_the_end_of_a_long_outage_is_kept_for_a_week_with_its_page() -> None:
    """The receiver was dead all the time, and still hears of both, in order."""
    world = grouped()
    runs(world, "c0")
    later(world, 10)
    world.deliver(answer=Retry(reason="no answer"))
    later(world, 14 * 86400)
    runs(world, "c0", run=good)
    later(world, 86400)
    assert ["trigger", "resolve"] == [told(world.deliver())[0], told(world.deliver())[0]]


# ---- membership


def test_what_fires_again_after_grouping_has_changed_is_told_once() -> None:
    """By the group that receivers know it from, or if they have heard that it was over, by its new one."""
    world = announced(2, "c0", "c1")
    world.configure(alerts(rules={"Errors": ONE_FAILURE}, group_by=["canary"], group_wait=10), *fleet(2))
    world.step(Started())
    runs(world, "c0", run=good)
    later(world, 300)
    assert ("update", {"c1": True, "c0": False}) == told(world.deliver())
    runs(world, "c0")
    later(world, 300)
    assert ("trigger", {"c0": True}) == told(world.deliver())
    assert world.deliver() is None


def test_a_receiver_that_becomes_one_for_changes_is_told_of_what_is_known() -> None:
    """It was a level receiver of the same name before."""
    world = announced(1, receivers={"hook": a_hook(), "other": PROM})
    world.configure(alerts(rules={"Errors": ONE_FAILURE}, receivers={"hook": a_hook(), "other": a_hook()}), *fleet(1))
    world.crash()
    world.step(Started())
    assert ("trigger", {"c0": True}) == told(world.deliver("other"))


def test_a_level_receiver_does_not_wait() -> None:
    """It is told of each as it comes, and groups by itself."""
    world = grouped(2, receivers={"prom": PROM})
    runs(world, "c0")
    assert ["c0"] == [incident.canary for incident in standing(world.state, "prom", world.now)]
    runs(world, "c1")
    runs(world, "c0", run=good)
    now = standing(world.state, "prom", world.now)
    assert [("c0", False), ("c1", True)] == [(incident.canary, incident.firing) for incident in now]


def test_a_group_of_thousands_is_a_notice_that_fits() -> None:
    """It spells out some, and says how many there are."""
    world = grouped(120)
    runs(world, *(f"c{number}" for number in range(120)))
    later(world, 10)
    notice = world.deliver()
    assert notice is not None
    assert (MOST_MEMBERS, 120) == (len(notice.members), notice.total)
    runs(world, *(f"c{number}" for number in range(120)), run=good)
    notice = world.deliver()
    assert notice is not None
    assert (Action.RESOLVE, MOST_MEMBERS, 120) == (notice.action, len(notice.members), notice.total)


def test_the_last_update_before_the_end_is_spared() -> None:
    """One after the other recovers within ``group_wait``: that is told once, as the end."""
    world = announced(3, "c0", "c1", "c2")
    later(world, 400)
    runs(world, "c0", run=good)
    later(world, 5)
    assert world.deliver() is None
    runs(world, "c1", "c2", run=good)
    assert "resolve" == told(world.deliver())[0]
    assert world.deliver() is None


def test_some_that_recover_are_told_of_if_the_others_do_not() -> None:
    """After ``group_wait``."""
    world = announced(2, "c0", "c1")
    later(world, 400)
    runs(world, "c0", run=good)
    later(world, 10)
    assert ("update", {"c0": False, "c1": True}) == told(world.deliver())
