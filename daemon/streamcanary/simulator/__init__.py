"""An OpenAI-compatible server that misbehaves on demand."""

from streamcanary.simulator.faults.fault_spec import FAULTS
from streamcanary.simulator.http.connection import Lifetime
from streamcanary.simulator.recorded_response import Sent
from streamcanary.simulator.request_log import Request
from streamcanary.simulator.server import CannotListen, Simulator
from streamcanary.simulator.timeline import Phase, Timeline, TimelineInvalid
from streamcanary.simulator.timings import Pace

__all__ = [
    "FAULTS",
    "CannotListen",
    "Lifetime",
    "Pace",
    "Phase",
    "Request",
    "Sent",
    "Simulator",
    "Timeline",
    "TimelineInvalid",
]
