"""Groups: what fails at once is one page, what changes is told now and then, what is over is told at once."""

from streamcanary.alerting.engine.active_alerts import active_alerts
from streamcanary.alerting.engine.inputs import Started, StoreFailed
from streamcanary.alerting.notify.receivers.delivery_result import Refused, Retry
from streamcanary.model.alerts.incident import MAX_MEMBERS, Action
from support.alerting.builders import EngineHarness, alerts, good, webhook_config
from support.alerting.groups import (
    ONE_FAILURE,
    advance,
    finish_send,
    grouped_harness,
    make_canaries,
    notified_harness,
    run_canaries,
    summarize,
)

PROM = {"type": "alertmanager", "urls": ["http://127.0.0.1:9093"]}


# ---- the first page


def test_what_fails_at_once_is_one_page() -> None:
    """It waits for ``group_wait`` from the first failure, and names all that came in that time."""
    world = grouped_harness()
    run_canaries(world, "c0")
    advance(world, 5)
    run_canaries(world, "c1", "c2")
    assert world.deliver() is None
    advance(world, 4.9)
    assert world.deliver() is None
    advance(world, 0.1)
    assert ("trigger", {"c0": True, "c1": True, "c2": True}) == summarize(world.deliver())
    assert world.deliver() is None


def test_a_blip_shorter_than_the_wait_says_nothing() -> None:
    """Neither that it fires nor that it is over."""
    world = grouped_harness()
    run_canaries(world, "c0")
    advance(world, 5)
    run_canaries(world, "c0", run=good)
    advance(world, 60)
    assert ({}, []) == (world.state.notifications, world.open_incidents)


def test_who_is_well_again_before_the_page_is_not_on_it() -> None:
    """The others are."""
    world = grouped_harness()
    run_canaries(world, "c0", "c1")
    run_canaries(world, "c0", run=good)
    advance(world, 10)
    assert ("trigger", {"c1": True}) == summarize(world.deliver())


def test_the_wait_outlives_a_crash() -> None:
    """It is over when it would have been."""
    world = grouped_harness()
    run_canaries(world, "c0")
    world.crash()
    world.step(Started())
    assert world.state.notifications == {}
    advance(world, 10)
    assert ("trigger", {"c0": True}) == summarize(world.deliver())


def test_alerts_about_the_daemon_wait_for_nothing() -> None:
    """There is nothing that they could be told together with."""
    world = grouped_harness()
    world.step(StoreFailed("disk full"))
    assert world.deliver_all() == [("trigger", "StoreFailing")]


def test_what_differs_in_a_label_of_the_group_is_told_apart() -> None:
    """And a label that nobody has makes no difference."""
    world = grouped_harness(2, group_by=["canary", "no_such_label"])
    run_canaries(world, "c0", "c1")
    advance(world, 10)
    assert [{"canary": "c0"}, {"canary": "c1"}] == [group.labels for group in world.state.groups.values()]
    assert [("trigger", "Errors")] * 2 == world.deliver_all()


# ---- updates


def test_who_joins_and_who_leaves_is_one_update() -> None:
    """At ``group_interval`` after the last word, however many they are."""
    world = notified_harness(4, "c0", "c1")
    advance(world, 20)
    run_canaries(world, "c2")
    advance(world, 20)
    run_canaries(world, "c3")
    run_canaries(world, "c0", run=good)
    advance(world, 259)
    assert world.deliver() is None
    advance(world, 1)
    assert ("update", {"c1": True, "c2": True, "c3": True, "c0": False}) == summarize(world.deliver())
    advance(world, 3600)
    assert world.deliver() is None


def test_who_joins_and_leaves_between_two_words_is_never_named() -> None:
    """Nothing has changed."""
    world = notified_harness()
    run_canaries(world, "c1")
    run_canaries(world, "c1", run=good)
    advance(world, 600)
    assert world.deliver() is None


def test_who_leaves_and_comes_back_between_two_words_was_never_away() -> None:
    """Receivers have not heard that it was over."""
    world = notified_harness()
    run_canaries(world, "c0", "c1")
    run_canaries(world, "c0", run=good)
    advance(world, 30)
    run_canaries(world, "c0")
    run_canaries(world, "c1", run=good)
    advance(world, 600)
    assert world.deliver() is None


def test_what_does_not_end_is_told_again() -> None:
    """Each ``repeat_interval``."""
    world = notified_harness()
    for _ in range(3):
        advance(world, 4 * 3600 - 1)
        assert world.deliver() is None
        advance(world, 1)
        assert ("update", {"c0": True}) == summarize(world.deliver())


def test_the_end_of_the_last_is_told_at_once() -> None:
    """No interval is waited for, and the end says what it is the end of."""
    world = notified_harness(3, "c0", "c1")
    run_canaries(world, "c0", "c1", run=good)
    assert ("resolve", {"c0": False, "c1": False}) == summarize(world.deliver())
    assert world.state.notifications == {}


# ---- behind a receiver that is slow, or refuses


def test_updates_behind_a_dead_receiver_are_one() -> None:
    """It hears how things stand, not how they came to."""
    world = notified_harness(9)
    for number in range(1, 9):
        run_canaries(world, f"c{number}")
        advance(world, 300)
    assert ("update", {f"c{number}": True for number in range(9)}) == summarize(world.deliver())
    assert world.deliver() is None


def test_updates_that_were_tried_do_not_pile_up() -> None:
    """The page, one update, and its end is all that is kept, whether updates are refused or get no answer."""
    for says in (
        Retry(reason="no answer"),
        Refused("HTTP 400"),
        Retry(reason="HTTP 429", is_definitely_undelivered=True),
    ):
        world = notified_harness(
            9, receivers={"hook": webhook_config(), "other": webhook_config()}, routes=[{"receivers": ["hook"]}]
        )
        for number in range(1, 9):
            run_canaries(world, f"c{number}")
            advance(world, 300)
            world.deliver(answer=says)
            mine = [notice for notice in world.state.notifications.values() if notice.receiver == "hook"]
            assert [Action.TRIGGER, Action.UPDATE] == [notice.action for notice in mine]
        run_canaries(world, *(f"c{number}" for number in range(9)), run=good)
        mine = [notice for notice in world.state.notifications.values() if notice.receiver == "hook"]
        assert [Action.TRIGGER, Action.RESOLVE] == [notice.action for notice in mine]


def test_a_page_that_was_refused_is_tried_again_with_the_next_word() -> None:
    """At an update or a repetition, and says what is so by then."""
    world = grouped_harness()
    run_canaries(world, "c0")
    advance(world, 10)
    world.deliver(answer=Refused("HTTP 404"))
    advance(world, 100)
    run_canaries(world, "c1")
    advance(world, 200)
    assert ("trigger", {"c0": True, "c1": True}) == summarize(world.deliver(answer=Refused("HTTP 404")))
    advance(world, 4 * 3600)
    assert ("trigger", {"c0": True, "c1": True}) == summarize(world.deliver())
    run_canaries(world, "c0", "c1", run=good)
    assert "resolve" == summarize(world.deliver())[0]


def refused_while_another_joined() -> EngineHarness:
    """Build a world in which a page is refused, and there was more to say by then."""
    world = grouped_harness()
    run_canaries(world, "c0")
    advance(world, 10)
    sent = world.start_send()
    assert sent is not None
    run_canaries(world, "c1")
    advance(world, 300)
    finish_send(world, sent, Refused("HTTP 404"))
    return world


def test_a_refused_page_says_at_a_start_what_receivers_were_told_last() -> None:
    """Not what it said when it was refused."""
    world = refused_while_another_joined()
    world.crash()
    world.step(Started())
    assert ("trigger", {"c0": True, "c1": True}) == summarize(world.deliver())


def test_a_refused_page_that_is_sent_again_does_not_run_ahead_of_its_group() -> None:
    """One member is over and that is not told yet; if it fires anew before it is, all have the right picture."""
    world = grouped_harness()
    run_canaries(world, "c0", "c1")
    advance(world, 10)
    assert world.deliver(answer=Refused("HTTP 403")) is not None
    run_canaries(world, "c0", run=good)
    world.crash()
    world.step(Started())
    assert ("trigger", {"c0": True, "c1": True}) == summarize(world.deliver())
    advance(world, 300)
    assert ("update", {"c0": False, "c1": True}) == summarize(world.deliver())


def test_no_update_overtakes_a_page_that_was_refused() -> None:
    """What was to be said after it is not said to whom it says nothing."""
    world = refused_while_another_joined()
    assert [Action.TRIGGER] == [notice.action for notice in world.state.notifications.values()]
    assert world.deliver() is None


def test_a_page_that_says_more_makes_a_waiting_update_needless() -> None:
    """It would say less, after it."""
    world = grouped_harness()
    run_canaries(world, "c0")
    advance(world, 10)
    sent = world.start_send()
    assert sent is not None
    run_canaries(world, "c1")
    advance(world, 300)
    finish_send(world, sent, Retry(reason="HTTP 429", is_definitely_undelivered=True))
    run_canaries(world, "c2")
    advance(world, 300)
    assert ("trigger", {"c0": True, "c1": True, "c2": True}) == summarize(world.deliver())
    assert world.deliver() is None


def test_refused_ends_do_not_pile_up() -> None:
    """A new outage takes over from what a receiver did not want to hear of the last one."""
    world = notified_harness(
        1, receivers={"hook": webhook_config(), "other": webhook_config()}, routes=[{"receivers": ["hook"]}]
    )
    for _ in range(5):
        run_canaries(world, "c0", run=good)
        world.deliver(answer=Refused("HTTP 400"))
        advance(world, 30)
        run_canaries(world, "c0")
        advance(world, 10)
        assert "trigger" == summarize(world.deliver())[0]
    assert 1 == sum(notice.receiver == "hook" for notice in world.state.notifications.values())


def test_the_end_of_a_long_outage_is_kept_for_a_week_with_its_page() -> None:
    """The receiver was dead all the time, and still hears of both, in order."""
    world = grouped_harness()
    run_canaries(world, "c0")
    advance(world, 10)
    world.deliver(answer=Retry(reason="no answer"))
    advance(world, 14 * 86400)
    run_canaries(world, "c0", run=good)
    advance(world, 86400)
    assert ["trigger", "resolve"] == [summarize(world.deliver())[0], summarize(world.deliver())[0]]


# ---- membership


def test_what_fires_again_after_grouping_has_changed_is_told_once() -> None:
    """By the group that receivers know it from, or if they have heard that it was over, by its new one."""
    world = notified_harness(2, "c0", "c1")
    world.configure(alerts(rules={"Errors": ONE_FAILURE}, group_by=["canary"], group_wait=10), *make_canaries(2))
    world.step(Started())
    run_canaries(world, "c0", run=good)
    advance(world, 300)
    assert ("update", {"c1": True, "c0": False}) == summarize(world.deliver())
    run_canaries(world, "c0")
    advance(world, 300)
    assert ("trigger", {"c0": True}) == summarize(world.deliver())
    assert world.deliver() is None


def test_a_receiver_that_becomes_one_for_changes_is_told_of_what_is_known() -> None:
    """It was a level receiver of the same name before."""
    world = notified_harness(1, receivers={"hook": webhook_config(), "other": PROM})
    world.configure(
        alerts(rules={"Errors": ONE_FAILURE}, receivers={"hook": webhook_config(), "other": webhook_config()}),
        *make_canaries(1),
    )
    world.crash()
    world.step(Started())
    assert ("trigger", {"c0": True}) == summarize(world.deliver("other"))


def test_a_level_receiver_does_not_wait() -> None:
    """It is told of each as it comes, and groups by itself."""
    world = grouped_harness(2, receivers={"prom": PROM})
    run_canaries(world, "c0")
    assert ["c0"] == [incident.canary for incident in active_alerts(world.state, "prom", world.now)]
    run_canaries(world, "c1")
    run_canaries(world, "c0", run=good)
    now = active_alerts(world.state, "prom", world.now)
    assert [("c0", False), ("c1", True)] == [(incident.canary, incident.is_firing) for incident in now]


def test_a_group_of_thousands_is_a_notice_that_fits() -> None:
    """It spells out some, and says how many there are."""
    world = grouped_harness(120)
    run_canaries(world, *(f"c{number}" for number in range(120)))
    advance(world, 10)
    notice = world.deliver()
    assert notice is not None
    assert (MAX_MEMBERS, 120) == (len(notice.members), notice.member_count)
    run_canaries(world, *(f"c{number}" for number in range(120)), run=good)
    notice = world.deliver()
    assert notice is not None
    assert (Action.RESOLVE, MAX_MEMBERS, 120) == (notice.action, len(notice.members), notice.member_count)


def test_the_last_update_before_the_end_is_spared() -> None:
    """One after the other recovers within ``group_wait``: that is told once, as the end."""
    world = notified_harness(3, "c0", "c1", "c2")
    advance(world, 400)
    run_canaries(world, "c0", run=good)
    advance(world, 5)
    assert world.deliver() is None
    run_canaries(world, "c1", "c2", run=good)
    assert "resolve" == summarize(world.deliver())[0]
    assert world.deliver() is None


def test_some_that_recover_are_told_of_if_the_others_do_not() -> None:
    """After ``group_wait``."""
    world = notified_harness(2, "c0", "c1")
    advance(world, 400)
    run_canaries(world, "c0", run=good)
    advance(world, 10)
    assert ("update", {"c0": False, "c1": True}) == summarize(world.deliver())
