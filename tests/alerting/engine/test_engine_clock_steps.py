"""Test that a backward clock step delays no trigger, update or resolve."""

from streamcanary.alerting.notify.delivery.result import Retry
from support.alerting.builders import good
from support.alerting.groups import advance, grouped_harness, notified_harness, run_canaries, summarize


def test_backward_clock_step_does_not_extend_group_wait_or_group_interval() -> None:
    """A backward clock step of a day extends neither ``group_wait`` nor ``group_interval``."""
    harness = grouped_harness()
    run_canaries(harness, "c0")
    advance(harness, -86400)
    advance(harness, 10)
    assert ("trigger", {"c0": True}) == summarize(harness.deliver())
    run_canaries(harness, "c1")
    advance(harness, -86400)
    advance(harness, 300)
    assert ("update", {"c0": True, "c1": True}) == summarize(harness.deliver())


def test_reaching_the_last_flush_time_again_does_not_extend_group_interval() -> None:
    """``group_interval`` is not extended when the clock reaches the time of the last flush a second time."""
    harness = notified_harness(3, group_interval="1m")
    advance(harness, 20)
    advance(harness, -60)
    run_canaries(harness, "c1")
    waited = 0
    while (update := harness.deliver()) is None:
        advance(harness, 5)
        waited += 5
    assert (("update", {"c0": True, "c1": True}), 60) == (summarize(update), waited)


def test_unattempted_resolve_stays_due_after_a_backward_clock_step() -> None:
    """A resolve that was never attempted stays due after a backward clock step."""
    harness = notified_harness()
    run_canaries(harness, "c0", run=good)
    harness.now -= 86400
    assert "resolve" == summarize(harness.deliver())[0]


def test_backward_clock_step_does_not_extend_retry_after() -> None:
    """A ``Retry-After`` of 60 s is not extended by a backward clock step."""
    harness = grouped_harness(2, group_by=["canary"])
    run_canaries(harness, "c0", "c1")
    advance(harness, 10)
    advance(harness, 4000)
    harness.deliver(answer=Retry(reason="HTTP 429", retry_after=60.0, is_definitely_undelivered=True))
    advance(harness, -3000)
    advance(harness, 60)
    assert ["trigger", "trigger"] == [summarize(harness.deliver())[0], summarize(harness.deliver())[0]]
