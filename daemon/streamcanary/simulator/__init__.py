"""An OpenAI-compatible server that misbehaves on demand."""

from streamcanary.simulator.choice import FAULTS
from streamcanary.simulator.connection import Lifetime
from streamcanary.simulator.pace import Pace
from streamcanary.simulator.request import Request
from streamcanary.simulator.sent import Sent
from streamcanary.simulator.server import CannotListen, Simulator
from streamcanary.simulator.timeline import Phase, Timeline, TimelineInvalid

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
