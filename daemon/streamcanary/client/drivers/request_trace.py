"""Connects the ``trace`` extension of a request with the trace of its attempt.

The extension is a function that httpcore calls about fifteen times a request, and never for a chunk of the body.
"""

from collections.abc import Callable
from typing import Any

import httpx2

from streamcanary.client.core.connection_trace import ConnectionTrace


def trace_request(request: httpx2.Request, trace: ConnectionTrace, now: Callable[[], float], *, is_async: bool) -> None:
    """Let ``trace`` observe ``request``, which is about to be sent, with times of ``now``.

    A ``trace`` extension that the request has already is still called.
    """
    trace.is_https = request.url.scheme == "https"
    observe, other = trace.observe, request.extensions.get("trace")

    def on_event(name: str, info: dict[str, Any]) -> None:
        observe(name, info, now())
        if other is not None:
            other(name, info)

    async def on_async_event(name: str, info: dict[str, Any]) -> None:
        observe(name, info, now())
        if other is not None:
            await other(name, info)

    request.extensions["trace"] = on_async_event if is_async else on_event
