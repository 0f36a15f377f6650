"""Connects the events of the transport with the trace of an attempt: about fifteen a request, none for a chunk."""

from collections.abc import Callable
from typing import Any

import httpx2

from streamcanary.client.core.connection_trace import ConnectionTrace
from streamcanary.transport.certificates import expiry_of_rejected, known_expiry
from streamcanary.transport.response_head import EventObserver


def observer_of(request: httpx2.Request, trace: ConnectionTrace, now: Callable[[], float]) -> EventObserver:
    """Return what lets ``trace`` observe ``request``, which is about to be sent, with times of ``now``."""
    trace.is_https = request.url.scheme == "https"

    def observe(name: str, info: dict[str, Any]) -> None:
        trace.observe(name, info, now())
        if ".start_tls." in name and trace.is_https:
            trace.certificate_expiry = _certificate_expiry(info)

    return observe


def trace_response(response: httpx2.Response, trace: ConnectionTrace) -> None:
    """Let ``trace`` observe the connection of ``response``: a reused one has no handshake, but a certificate."""
    if trace.connection == "reused" and trace.is_https:
        stream = response.extensions.get("network_stream")
        connection = None if stream is None else stream.get_extra_info("ssl_object")
        trace.certificate_expiry = None if connection is None else known_expiry(connection)


def _certificate_expiry(info: dict[str, Any]) -> float | None:
    """Return when the first certificate expires, from the details of an event of the handshake."""
    if (stream := info.get("return_value")) is not None:
        return known_expiry(stream.get_extra_info("ssl_object"))
    return expiry_of_rejected(info.get("exception"))
