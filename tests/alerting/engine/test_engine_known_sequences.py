"""Test sequences of events that once broke an invariant of alerting; found at random, then shortened."""

from typing import Any

import pytest

from alerting.engine.test_engine_stateful import AlertingStateMachine

UNREADABLE = "start_with_unreadable_store"

SEQUENCES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "a receiver without a route is owed a resolve, and the store cannot be read twice more": [
        (UNREADABLE, {"how": "good", "answer": "accepted"}),
        ("set_variant", {"part": "routes", "name": "to one"}),
        (UNREADABLE, {"how": "good", "answer": "accepted"}),
        (UNREADABLE, {"how": "good", "answer": "accepted"}),
    ],
    "a trigger that may have been received is followed by one that was not sent": [
        (UNREADABLE, {"how": "unreachable", "answer": "refused"}),
        ("deliver", {"receiver": "other", "how": "lost"}),
        (UNREADABLE, {"how": "unreachable", "answer": "refused"}),
        ("deliver", {"receiver": "other", "how": "limited"}),
    ],
    "the clock is set back while resolves wait after a data loss": [
        (UNREADABLE, {"how": "unreachable", "answer": "refused"}),
        ("deliver", {"receiver": "other", "how": "lost"}),
        (UNREADABLE, {"how": "unreachable", "answer": "refused"}),
        ("jump", {"seconds": -7200.0}),
        ("deliver", {"receiver": "other", "how": "limited"}),
    ],
    "a resolve that was not sent yet is in a store that is read late": [
        (UNREADABLE, {"how": "bad", "answer": "lost"}),
        ("set_variant", {"part": "routes", "name": "to one"}),
        (UNREADABLE, {"how": "bad", "answer": "refused"}),
        ("crash", {}),
        (UNREADABLE, {"how": "good", "answer": "lost"}),
    ],
    "the clock is set back after a receiver with a Retry-After accepted": [
        ("store", {"fails": True}),
        ("deliver", {"receiver": "hook", "how": "limited"}),
        ("jump", {"seconds": -120.0}),
        ("deliver", {"receiver": "hook", "how": "accepted"}),
        ("jump", {"seconds": -7200.0}),
    ],
    "silenced canaries report no data, and the others of their group report again": [
        ("silence", {"id": "x", "match": 'target="right"', "seconds": 900.0}),
        ("wait", {"ticks": 8, "seconds": 15.0}),
        ("run_all", {"how": "good", "times": 1}),
    ],
    "a silence begins before the first notification, and another canary fails": [
        ("run", {"who": 0, "how": "bad", "times": 1}),
        ("silence", {"id": "x", "match": 'instance="default"', "seconds": 20.0}),
        ("crash", {}),
        ("run_all", {"how": "bad", "times": 1}),
    ],
    "an update is sent, the clock is set back, and another is due at the time of the first": [
        ("set_variant", {"part": "groups", "name": "by target", "hot": True}),
        (UNREADABLE, {"how": "unreachable", "answer": "refused"}),
        ("deliver", {"receiver": "hook", "how": "accepted"}),
        ("jump", {"seconds": 3600.0}),
        ("jump", {"seconds": -120.0}),
        ("run", {"who": 0, "how": "good", "times": 1}),
    ],
    "the good run with which a pooled ratio recovers gives a narrower one enough samples to fire": [
        ("set_variant", {"part": "rules", "name": "pooled shares", "hot": True}),
        ("run", {"who": 0, "how": "good", "times": 1}),
        ("run", {"who": 2, "how": "bad", "times": 1}),
    ],
}


@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES)
def test_sequence_keeps_the_invariants(sequence: list[tuple[str, dict[str, Any]]]) -> None:
    """A sequence that once broke an invariant keeps them all."""
    machine = AlertingStateMachine()
    for event, arguments in sequence:
        getattr(machine, event)(**arguments)
        machine.stored_rows_equal_the_state()
        machine.receivers_know_the_notified_members()
    machine.teardown()
