"""The phases in which each fault kind occurs: the table compared with every known way to end an attempt."""

from typing import Final

import pytest

from streamcanary.client.core.attempt import AttemptMachine
from streamcanary.client.core.fault_classification import fault_from_status
from streamcanary.client.core.fault_classification.error_codes import ERROR_CODES
from streamcanary.client.core.limits import Limits
from streamcanary.client.core.response_head import ResponseHead
from streamcanary.client.timeouts import Timeouts
from streamcanary.model.faults import FAULT_PROPERTIES, Fault, FaultKind, Phase
from support.client.fault_table import EXPECTED_FAULTS, FAULTS_WITHOUT_SIMULATOR

STREAM, JSON = {"content-type": "text/event-stream"}, {"content-type": "application/json"}
_HERE: Final = {
    (FaultKind.CIRCUIT_OPEN, Phase.CONFIG),
    (FaultKind.CANCELLED, Phase.HEADERS),
    (FaultKind.CLIENT_DELAYED, Phase.CONNECT),
    (FaultKind.CLIENT_EXHAUSTED, Phase.CONNECT),
    (FaultKind.CLIENT_DELAYED, Phase.HEADERS),
    (FaultKind.CLIENT_DELAYED, Phase.STREAM),
    (FaultKind.CANCELLED, Phase.STREAM),
    (FaultKind.UNEXPECTED_ANSWER, Phase.END),
}
"""Kinds that no row produces, for the reasons given in ``support.client.fault_table.FAULTS_TESTED_ELSEWHERE``."""


def answered(headers: dict[str, str], body: bytes, limits: Limits | None = None) -> Fault:
    """Return the fault of a response with status 200."""
    machine = AttemptMachine(Timeouts(), started=0.0, limits=limits or Limits())
    machine.headers_received(ResponseHead(200, headers), wall_time=0.0)
    machine.feed(body, 1.0)
    machine.feed_eof(2.0)
    assert machine.fault is not None
    return machine.fault


def reported() -> list[Fault]:
    """Return the fault of each provider error code: as a status, in a JSON body, and in a stream."""
    faults = []
    for code in (*ERROR_CODES, "something_new"):
        error = b'{"error": {"message": "no", "code": "%s"}}' % code.encode()
        faults += [answered(JSON, error), answered(STREAM, b"data: " + error + b"\n\n")]
        faults += [fault_from_status(status, {}, {"code": code}, now=0.0) for status in (400, 403, 429, 500)]
    return faults


def uncovered_faults() -> list[Fault]:
    """Return the faults that no row covers: an endless JSON answer, and a page that claims to be an event stream."""
    long = b'{"choices": [{"message": {"content": "%s"}, "finish_reason": "stop"}]}' % (b"x" * 200)
    return [answered(JSON, long, Limits(max_answer_characters=100)), answered(STREAM, b"<html>")]


def test_fault_phases_match_the_table() -> None:
    """The phases observed in the fault matrix, in provider errors and in uncovered faults equal the table."""
    ends = {(row.kind, row.phase) for row in (*EXPECTED_FAULTS.values(), *FAULTS_WITHOUT_SIMULATOR.values())}
    ends |= {(fault.kind, fault.phase) for fault in (*reported(), *uncovered_faults())} | _HERE
    table = {(kind, phase) for kind, nature in FAULT_PROPERTIES.items() for phase in nature.phases}
    assert table == ends


@pytest.mark.parametrize("kind", FaultKind)
def test_phases_are_ordered_and_unique(kind: FaultKind) -> None:
    """Each kind has at least one phase, in order and without duplicates."""
    phases = FAULT_PROPERTIES[kind].phases
    assert [phase for phase in Phase if phase in phases] == list(phases) != []
