"""Scheduled canary streaming calls against LLM endpoints, and the retry client that makes them.

The names below are imported on first use (PEP 562): ``import openai`` takes most of a second, which ``--help`` must
not cost.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamcanary.client.async_client import AsyncStreamClient
    from streamcanary.client.circuit_breaker import BreakerPolicy
    from streamcanary.client.core.limits import Limits
    from streamcanary.client.drivers.async_stream import AsyncStream
    from streamcanary.client.drivers.sync_stream import Stream
    from streamcanary.client.fallbacks import Cached, NonStreaming, Route
    from streamcanary.client.result import StreamFailed, StreamResult
    from streamcanary.client.retry_budget import RetryBudget
    from streamcanary.client.retry_policy import OnPartial, RetryPolicy
    from streamcanary.client.sync_client import StreamClient
    from streamcanary.client.timeouts import Timeouts
    from streamcanary.model.faults import Blame, Fault, FaultKind, Phase
    from streamcanary.model.outcome import Attempt, OutputSpeed, PhaseDurations, Retirement, Usage
    from streamcanary.model.rate_limit import Quota, RateLimits

__all__ = [
    "AsyncStream",
    "AsyncStreamClient",
    "Attempt",
    "Blame",
    "BreakerPolicy",
    "Cached",
    "Fault",
    "FaultKind",
    "Limits",
    "NonStreaming",
    "OnPartial",
    "OutputSpeed",
    "Phase",
    "PhaseDurations",
    "Quota",
    "RateLimits",
    "Retirement",
    "RetryBudget",
    "RetryPolicy",
    "Route",
    "Stream",
    "StreamClient",
    "StreamFailed",
    "StreamResult",
    "Timeouts",
    "Usage",
    "__version__",
]
__version__ = "0.1.0"

_EXPORTS = {
    "client.async_client": ("AsyncStreamClient",),
    "client.circuit_breaker": ("BreakerPolicy",),
    "client.retry_budget": ("RetryBudget",),
    "client.retry_policy": ("OnPartial", "RetryPolicy"),
    "client.timeouts": ("Timeouts",),
    "client.result": ("StreamFailed", "StreamResult"),
    "client.drivers.async_stream": ("AsyncStream",),
    "client.drivers.sync_stream": ("Stream",),
    "client.sync_client": ("StreamClient",),
    "client.core.limits": ("Limits",),
    "client.fallbacks": ("Cached", "NonStreaming", "Route"),
    "model.faults": ("Blame", "Fault", "FaultKind", "Phase"),
    "model.outcome": ("Attempt", "OutputSpeed", "PhaseDurations", "Retirement", "Usage"),
    "model.rate_limit": ("Quota", "RateLimits"),
}
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import the module that defines ``name``, on first use."""
    if (module := _MODULE_OF.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
