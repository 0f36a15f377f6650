"""In which phases each kind of fault occurs: the table, held against all that is known to end an attempt."""

from typing import Final

import httpx2
import pytest

from streamcanary.client.core.attempt import AttemptMachine, ResponseHead
from streamcanary.client.core.fault_classification import _BY_CODE, fault_from_exception, fault_from_status
from streamcanary.client.core.limits import Limits
from streamcanary.client.timeouts import Timeouts
from streamcanary.model.faults import FAULT_PROPERTIES, Fault, FaultKind, Phase
from support.client.fault_table import EXPECTED_FAULTS, FAULTS_WITHOUT_SIMULATOR

STREAM, JSON = {"content-type": "text/event-stream"}, {"content-type": "application/json"}
_HERE: Final = {
    (FaultKind.CIRCUIT_OPEN, Phase.CONFIG),
    (FaultKind.CANCELLED, Phase.HEADERS),
    (FaultKind.CANCELLED, Phase.STREAM),
    (FaultKind.UNEXPECTED_ANSWER, Phase.END),
}
"""What ends no row, for the reasons that stand in ``support.client.fault_table.ELSEWHERE``."""


def answered(headers: dict[str, str], body: bytes, limits: Limits | None = None) -> Fault:
    """Return what becomes of an answer with status 200."""
    machine = AttemptMachine(Timeouts(), started=0.0, limits=limits or Limits())
    machine.headers_received(ResponseHead(200, headers), wall_time=0.0)
    machine.feed(body, 1.0)
    machine.feed_eof(2.0)
    assert machine.fault is not None
    return machine.fault


def reported() -> list[Fault]:
    """Return what each code of a provider becomes: with a status, in a JSON body, and in a stream."""
    faults = []
    for code in (*_BY_CODE, "something_new"):
        error = b'{"error": {"message": "no", "code": "%s"}}' % code.encode()
        faults += [answered(JSON, error), answered(STREAM, b"data: " + error + b"\n\n")]
        faults += [fault_from_status(status, {}, {"code": code}, now=0.0) for status in (400, 403, 429, 500)]
    return faults


def odd() -> list[Fault]:
    """Return what no row is about: an endless JSON answer, and a redirect that cannot be unpacked."""
    long = b'{"choices": [{"message": {"content": "%s"}, "finish_reason": "stop"}]}' % (b"x" * 200)
    unpacking = fault_from_exception(httpx2.DecodingError("incorrect header check"), Phase.HEADERS, now=0.0)
    assert unpacking is not None
    return [answered(JSON, long, Limits(max_answer_characters=100)), unpacking]


def test_each_kind_occurs_in_its_phases_and_no_other() -> None:
    """The rows of the matrix, each of which is played, what providers report, and the odd ones are the whole table."""
    ends = {(row.kind, row.phase) for row in (*EXPECTED_FAULTS.values(), *FAULTS_WITHOUT_SIMULATOR.values())}
    ends |= {(fault.kind, fault.phase) for fault in (*reported(), *odd())} | _HERE
    table = {(kind, phase) for kind, nature in FAULT_PROPERTIES.items() for phase in nature.phases}
    assert table == ends


@pytest.mark.parametrize("kind", FaultKind)
def test_phases_stand_in_their_order(kind: FaultKind) -> None:
    """Each has at least one, and none twice."""
    phases = FAULT_PROPERTIES[kind].phases
    assert [phase for phase in Phase if phase in phases] == list(phases) != []
