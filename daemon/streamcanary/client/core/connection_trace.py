"""The phases of an attempt, without I/O: from the trace events of the transport to a duration for each phase.

    (preparation) ──▶ dns ──▶ connect ──▶ tls ──▶ headers ──▶ first_token ──▶ streaming

After the preparation of the request, which is no phase because it says nothing about the endpoint, each moment belongs
to one phase. The last phase lasts to the end of the attempt, also if it failed. A phase that the attempt did not have
is absent: on a reused connection ``dns``, ``connect`` and ``tls``.

With a proxy, ``dns`` and ``connect`` are those of the proxy. ``connect`` includes TLS with the proxy, and the time in
which the proxy connects to the endpoint; ``tls`` is that with the endpoint, through the proxy.

The events are those of the ``trace`` extension of httpcore (https://www.encode.io/httpcore/extensions/#trace), and
``dns.resolve_host`` of the transport of canaries. Another transport does not show how long the resolution of the name
takes; then ``connect`` includes it.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

from streamcanary.client.core.attempt_clock import AttemptClock
from streamcanary.model.outcome import Connection, PhaseDurations

_CONNECT_EVENTS: Final = frozenset({"connect_tcp.started", "connect_unix_socket.started"})
_CONNECTED_EVENTS: Final = frozenset({"connect_tcp.complete", "connect_unix_socket.complete"})


class ConnectionTrace:
    """What the events of the transport show about the connection of an attempt that starts at ``started``.

    Times are monotonic seconds. ``is_https`` is whether the endpoint is; it is set before the request is sent.
    ``connection`` is ``None`` if none was opened, or if the transport has no events. ``certificate_expiry`` is when the
    first certificate of the last handshake, or of the reused connection, expires, in seconds since the epoch.
    """

    __slots__ = ("_durations", "_phase", "_since", "certificate_expiry", "connection", "is_https")

    def __init__(self, started: float) -> None:
        self._durations: dict[str, float] = {}
        self._phase: str | None = None  # the preparation
        self._since = started
        self.is_https = True
        self.connection: Connection | None = None
        self.certificate_expiry: float | None = None

    def observe(self, name: str, info: Mapping[str, Any], now: float) -> None:
        """Handle the event ``name``, such as ``connection.connect_tcp.started``."""
        event = name.partition(".")[2]
        if event in _CONNECT_EVENTS:
            self._enter("connect", now)
        elif event in _CONNECTED_EVENTS:
            self.connection = "new"
        elif name == "dns.resolve_host.started":
            self._phase = "dns"  # the first part of connecting
        elif name == "dns.resolve_host.complete":
            self._enter("connect", now)
        elif event == "start_tls.started":
            self._enter("tls" if self.is_https else "connect", now)
        elif event == "send_request_headers.started":
            if getattr(info.get("request"), "method", b"") == b"CONNECT":
                self._tunnel_requested(now)
            else:
                self.connection = self.connection or "reused"
                self._enter("headers", now)

    def phases(self, clock: AttemptClock, ended: float) -> PhaseDurations:
        """Return the phases of an attempt that ended at ``ended``, with the later times of ``clock``."""
        durations = dict(self._durations)
        starts = [(self._phase or "headers", self._since)]  # without events, the headers are all that is known
        if clock.headers_received is not None:
            starts.append(("first_token", clock.headers_received))
        if clock.first_token is not None and clock.first_token < ended:
            starts.append(("streaming", clock.first_token))
        for (phase, since), (_, until) in pairwise([*starts, ("", ended)]):
            durations[phase] = durations.get(phase, 0.0) + max(0.0, until - since)
        return PhaseDurations(**durations)

    def _tunnel_requested(self, now: float) -> None:
        """Handle the request to a proxy to connect to the endpoint. TLS until then was with the proxy."""
        self.certificate_expiry = None
        self._enter("connect", now)
        if (seconds := self._durations.pop("tls", None)) is not None:
            self._durations["connect"] = self._durations.get("connect", 0.0) + seconds

    def _enter(self, phase: str, now: float) -> None:
        if self._phase is not None:
            self._durations[self._phase] = self._durations.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = phase, now
