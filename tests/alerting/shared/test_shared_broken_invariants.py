"""Each invariant of alerting with two replicas: a story that keeps it, and notices when it is broken on purpose."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import pytest

from streamcanary.alerting.engine.inputs import Input, SendFinished
from streamcanary.alerting.engine.state import State
from streamcanary.alerting.notify.delivery.result import Accepted
from streamcanary.model.alerts.incident import NotificationState
from streamcanary.model.alerts.pending_input import AlertCommit
from streamcanary.model.alerts.row_change import RowChange
from streamcanary.model.replicas import Ownership
from support.alerting.config_variants import WEBHOOK_NAMES
from support.alerting.memory_alerts import MemoryAlerts
from support.alerting.shared_state_machine import SharedAlertingStateMachine

Machine = SharedAlertingStateMachine
Story = Callable[[Machine], None]
Break = Callable[[Machine], None]


# ---- stories


def deliver_all(machine: Machine) -> None:
    """Let the groups be flushed, and all receivers accept."""
    machine.wait(ticks=2, seconds=15.0)
    for receiver in WEBHOOK_NAMES:
        machine.deliver(receiver=receiver, how="accepted")


def outage(machine: Machine) -> None:
    """Let a canary fail, and notify of it."""
    machine.run(who=0, how="bad", times=2)
    deliver_all(machine)


def recovery(machine: Machine) -> None:
    """Let the canary recover, and notify of it."""
    machine.run(who=0, how="good", times=3)
    deliver_all(machine)


def outage_with_a_takeover(machine: Machine) -> None:
    """Kill the owner in an outage that receivers know."""
    outage(machine)
    machine.kill(skew=0.0, received=False)
    recovery(machine)


def takeover_that_sends_nothing(machine: Machine) -> None:
    """Kill the owner in an outage that receivers know: the successor has nothing to send."""
    outage(machine)
    machine.kill(skew=0.0, received=False)
    for receiver in WEBHOOK_NAMES:
        assert machine.harness.start_send(receiver) is None


def send_that_is_paused(machine: Machine) -> None:
    """Stop the owner before it writes a request; the successor sends trigger and resolve before it continues."""
    machine.run(who=0, how="bad", times=2)
    machine.wait(ticks=1, seconds=15.0)
    machine.send(receiver="hook")
    machine.pause(skew=0.0, who=1, how="good")
    deliver_all(machine)
    recovery(machine)
    machine.resume()


def commit_that_is_paused(machine: Machine) -> None:
    """Stop the owner before it commits; it continues after a takeover."""
    outage(machine)
    machine.pause(skew=0.0, who=0, how="good")
    machine.resume()
    recovery(machine)


def kill_after_a_run(machine: Machine) -> None:
    """Kill the owner after one of two failures."""
    machine.run(who=0, how="bad", times=1)
    machine.kill(skew=0.0, received=False)
    machine.run(who=0, how="bad", times=1)
    deliver_all(machine)
    machine.receivers_know_the_notified_members()


def receiver_that_fails_at_first(machine: Machine) -> None:
    """Let a receiver answer with an error, and take over before the retry."""
    machine.run(who=0, how="bad", times=2)
    machine.wait(ticks=1, seconds=15.0)
    machine.deliver(receiver="hook", how="limited")
    machine.kill(skew=0.0, received=False)
    machine.wait(ticks=4, seconds=30.0)
    deliver_all(machine)
    machine.receivers_know_the_notified_members()


# ---- what breaks an invariant


def change_loaded_state(change: Callable[[State], dict[str, Any]]) -> Break:
    """Let a successor continue from another state than the stored one."""

    def apply(machine: Machine) -> None:
        load = machine.harness.load

        def changed() -> tuple[State, list[Any]]:
            state, unreadable = load()
            return msgspec.structs.replace(state, **change(state)), unreadable

        machine.harness.load = changed  # type: ignore[method-assign]

    return apply


def commit_rows_later(machine: Machine) -> None:
    """Delete inputs before the rows that they have changed are saved: not one transaction."""
    inputs = machine.harness.database.inputs
    commit, waiting = inputs.commit, []  # type: ignore[var-annotated]

    async def broken(
        owner: Ownership, rows: Sequence[RowChange], consumed: Collection[int], **options: Any
    ) -> AlertCommit:
        late = list(waiting)
        waiting[:] = rows
        return await commit(owner, late, consumed, **options)

    inputs.commit = broken  # type: ignore[method-assign]


def send_without_a_lease(machine: Machine) -> None:
    """Let a stopped owner send what it was about to send."""
    pause = machine.pause

    def broken(**arguments: Any) -> None:
        pause(**arguments)
        assert machine.deposed is not None
        machine.deposed.may_send = True

    machine.pause = broken  # type: ignore[method-assign]


def commit_without_fencing(machine: Machine) -> None:
    """Let the database accept commits of a former owner."""
    alerts: MemoryAlerts = machine.harness.database.alerts  # type: ignore[attr-defined]
    alerts.is_fencing = False


def take_errors_for_success(machine: Machine) -> None:
    """Take each answer of a receiver as accepted."""
    step = machine.harness.step

    def broken(input: Input) -> None:  # noqa: A002 - the field's name
        step(SendFinished(input.notification_id, Accepted(), 0.5) if isinstance(input, SendFinished) else input)

    machine.harness.step = broken  # type: ignore[method-assign]


def forget_what_was_accepted(state: State) -> dict[str, Any]:
    """Return notifications that were accepted as pending."""
    pending = {
        key: msgspec.structs.replace(each, state=NotificationState.PENDING, next_attempt=each.created)
        for key, each in state.notifications.items()
    }
    return {"notifications": pending}


def resolve_at_takeover(state: State) -> dict[str, Any]:
    """Return incidents as resolved, though nothing was observed."""
    return {
        "incidents": {
            key: msgspec.structs.replace(each, resolved=each.opened, resolve_reason="takeover")
            for key, each in state.incidents.items()
        }
    }


INVARIANTS: dict[str, tuple[Story, Break]] = {
    "1: the database is a prefix of the outcomes": (kill_after_a_run, commit_rows_later),
    "2: one open incident and group, one id": (
        outage_with_a_takeover,
        change_loaded_state(lambda state: {"incidents": {}, "groups": {}, "detectors": {}}),
    ),
    "3: notifications are in order": (send_that_is_paused, send_without_a_lease),
    "4: who was notified gets the resolve": (
        outage_with_a_takeover,
        change_loaded_state(lambda state: {"groups": {}, "notifications": {}}),
    ),
    "5: only good samples resolve": (outage_with_a_takeover, change_loaded_state(resolve_at_takeover)),
    "6: a takeover sends nothing again": (takeover_that_sends_nothing, change_loaded_state(forget_what_was_accepted)),
    "7: what failed is retried": (receiver_that_fails_at_first, take_errors_for_success),
    "10: a former owner writes nothing": (commit_that_is_paused, commit_without_fencing),
}


def play(story: Story, *breaks: Break) -> None:
    """Play ``story``, and let everything recover at the end."""
    machine = SharedAlertingStateMachine()
    try:
        for each in breaks:
            each(machine)
        story(machine)
        machine.stored_rows_equal_the_state()
        machine.teardown()
    finally:
        machine.harness.close()


@pytest.mark.parametrize("invariant", INVARIANTS)
def test_story_keeps_its_invariant(invariant: str) -> None:
    """The story passes."""
    play(INVARIANTS[invariant][0])


@pytest.mark.parametrize("invariant", INVARIANTS)
def test_story_notices_that_its_invariant_is_broken(invariant: str) -> None:
    """The same story fails if the invariant is broken on purpose."""
    story, broken = INVARIANTS[invariant]
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        play(story, broken)
