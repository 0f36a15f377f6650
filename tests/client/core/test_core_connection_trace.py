"""The phases of an attempt, from the trace events of its connection."""

from typing import Any, NamedTuple

import pytest

from streamcanary.client.core.attempt_clock import AttemptClock
from streamcanary.client.core.connection_trace import ConnectionTrace
from streamcanary.client.timeouts import Timeouts


class HttpcoreRequest(NamedTuple):
    """A request in the details of a trace event."""

    method: bytes


POST = {"request": HttpcoreRequest(b"POST")}
CONNECT = {"request": HttpcoreRequest(b"CONNECT")}
RESOLVE = [(101, "connection.connect_tcp.started", {}), (101, "dns.resolve_host.started", {})]
DIRECT = [
    *RESOLVE,
    (103, "dns.resolve_host.complete", {}),
    (106, "connection.connect_tcp.complete", {}),
    (106, "connection.start_tls.started", {}),
    (110, "connection.start_tls.complete", {}),
    (110, "http11.send_request_headers.started", POST),
    (110, "http11.send_request_headers.complete", {}),
    (110, "http11.receive_response_headers.started", POST),
    (115, "http11.receive_response_headers.complete", {}),
]


def phases_of(
    events: list[tuple[int, str, Any]],
    *,
    ended: float,
    headers: float | None = None,
    first_token: float | None = None,
    is_https: bool = True,
) -> dict[str, float]:
    """Return the phases of an attempt that starts at 100."""
    trace, clock = ConnectionTrace(100.0), AttemptClock(Timeouts(), 100.0)
    trace.is_https = is_https
    for at, name, info in events:
        trace.observe(name, info, float(at))
    clock.headers_received, clock.first_token = headers, first_token
    return dict(trace.phases(clock, ended).items())


def test_phases_of_a_complete_answer() -> None:
    """Each phase has its own length, and together they are the attempt without the preparation of the request."""
    phases = phases_of(DIRECT, headers=116, first_token=120, ended=140)
    assert {"dns": 2, "connect": 3, "tls": 4, "headers": 6, "first_token": 4, "streaming": 20} == phases
    assert 39 == sum(phases.values())


def test_reused_connection_has_no_connect_phases() -> None:
    """On a reused connection, the phases of connecting are absent, not 0."""
    assert {"headers": 5, "first_token": 4, "streaming": 20} == phases_of(
        [(101, "http11.send_request_headers.started", POST)], headers=106, first_token=110, ended=130
    )


def test_transport_without_events() -> None:
    """Without trace events, the time until the headers is their phase."""
    assert {"headers": 6, "first_token": 4, "streaming": 20} == phases_of([], headers=106, first_token=110, ended=130)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (2, {"dns": 29}),
        (3, {"dns": 2, "connect": 27}),
        (5, {"dns": 2, "connect": 3, "tls": 24}),
        (7, {"dns": 2, "connect": 3, "tls": 4, "headers": 20}),
    ],
)
def test_failed_attempt_ends_with_the_phase_that_failed(count: int, expected: dict[str, float]) -> None:
    """The last phase lasts to the end of the attempt. Before the request is sent, there is no phase of the headers."""
    assert expected == phases_of(DIRECT[:count], ended=130)


def test_resolution_that_fails() -> None:
    """If the name cannot be resolved, there is no phase of connecting."""
    assert {"dns": 29} == phases_of([*RESOLVE, (120, "dns.resolve_host.failed", {})], ended=130)


def test_transport_that_does_not_show_the_resolution() -> None:
    """Without the events of the resolution, connecting includes it."""
    events = [event for event in DIRECT if not event[1].startswith("dns.")]
    assert {"connect": 5, "tls": 4, "headers": 20} == phases_of(events, ended=130)


def test_answer_without_stream_has_no_streaming_phase() -> None:
    """An answer that arrives at once, as one JSON body, has no phase of streaming."""
    assert {"headers": 6, "first_token": 24} == phases_of([], headers=106, first_token=130, ended=130)


def test_silence_after_the_headers() -> None:
    """An attempt without a token ends with the wait for it."""
    assert {"headers": 6, "first_token": 24} == phases_of([], headers=106, ended=130)


def test_tunnel_through_a_proxy_over_tls() -> None:
    """Connecting includes TLS with the proxy and its own connection; the phase of TLS is that with the endpoint."""
    events = [
        *DIRECT[:6],
        (110, "http11.send_request_headers.started", CONNECT),
        (113, "proxy.start_tls.started", {}),
        (118, "proxy.start_tls.complete", {}),
        (118, "http11.send_request_headers.started", POST),
    ]
    assert {"dns": 2, "connect": 10, "tls": 5, "headers": 12} == phases_of(events, ended=130)


def test_plain_endpoint_behind_a_proxy_over_tls() -> None:
    """Of an endpoint without TLS there is no such phase; TLS with the proxy belongs to connecting."""
    assert {"dns": 2, "connect": 7, "headers": 20} == phases_of(DIRECT, ended=130, is_https=False)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (DIRECT, "new"),
        (DIRECT[:1], None),
        (DIRECT[6:], "reused"),
        ([(101, "connection.connect_unix_socket.complete", {})], "new"),
        ([(101, "connection.connect_tcp.started", {}), (102, "connection.connect_tcp.failed", {})], None),
        ([], None),
    ],
)
def test_connection(events: list[tuple[int, str, Any]], expected: str | None) -> None:
    """A connection is new if the attempt opened it, reused if it sent a request without, else unknown."""
    trace = ConnectionTrace(100.0)
    for at, name, info in events:
        trace.observe(name, info, float(at))
    assert expected == trace.connection
