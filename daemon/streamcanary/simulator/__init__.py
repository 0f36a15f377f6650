"""The simulator: an OpenAI-compatible server that plays faults on demand."""

from streamcanary.simulator.faults.fault_spec import FAULTS
from streamcanary.simulator.http.connection import ConnectionLifetime
from streamcanary.simulator.recorded_response import RecordedResponse
from streamcanary.simulator.request_log import RecordedRequest
from streamcanary.simulator.server import ListenError, Simulator
from streamcanary.simulator.timeline import Phase, Timeline, TimelineInvalid
from streamcanary.simulator.timings import Timings

__all__ = [
    "FAULTS",
    "ConnectionLifetime",
    "ListenError",
    "Phase",
    "RecordedRequest",
    "RecordedResponse",
    "Simulator",
    "Timeline",
    "TimelineInvalid",
    "Timings",
]
