"""The simulator as a server: start and close, connections, request record, and API key."""

import asyncio
import gc
import json
import socket
import time
from contextlib import suppress

import httpx2
import pytest

from streamcanary.simulator import ListenError, RecordedRequest, Simulator
from support.clock import ManualClock
from support.servers.simulator import FAST_TIMINGS, HANGING_TIMINGS, client_tls, fetch_raw, server_tls, wait_until

HANGING = ["no-headers", "5xx-stalled-body", "stall", "keepalive-stall", "pings", "empty-deltas", "slow-first-token"]


async def start_hanging_request(simulator: Simulator, fault: str) -> asyncio.StreamWriter:
    """Send a request for ``fault`` on a new connection, and return once it is served."""
    seen = len(simulator.requests)
    _, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    body = json.dumps({"model": f"sim-{fault}", "messages": [], "stream": True}).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    await wait_until(lambda: len(simulator.requests) > seen)
    return writer


@pytest.mark.parametrize("fault", HANGING)
async def test_disconnect_during_a_hang_is_detected(fault: str) -> None:
    """The server detects at once that a client has closed the connection."""
    async with Simulator(timings=HANGING_TIMINGS) as simulator:
        writer = await start_hanging_request(simulator, fault)
        assert simulator.connection_count == 1
        writer.close()
        await writer.wait_closed()
        await wait_until(lambda: simulator.connection_count == 0)


@pytest.mark.parametrize("fault", HANGING)
async def test_reset_during_a_hang_is_detected(fault: str) -> None:
    """The server detects a RST like a FIN."""
    async with Simulator(timings=HANGING_TIMINGS) as simulator:
        writer = await start_hanging_request(simulator, fault)
        writer.transport.abort()
        await wait_until(lambda: simulator.connection_count == 0)


async def test_closing_ends_every_hang_at_once() -> None:
    """Closing the server ends every hanging response within 2 s."""
    simulator = Simulator(timings=HANGING_TIMINGS)
    await simulator.start()
    writers = [await start_hanging_request(simulator, fault) for fault in HANGING]
    assert simulator.connection_count == len(HANGING)
    started = time.monotonic()
    await simulator.close()
    assert time.monotonic() - started < 2
    assert simulator.connection_count == 0
    for writer in writers:
        writer.transport.abort()


@pytest.mark.parametrize("turns", range(6))
async def test_closing_ends_a_connection_being_accepted(turns: int) -> None:
    """A connection that is being accepted while the server closes is closed."""
    simulator = Simulator(timings=HANGING_TIMINGS)
    await simulator.start()
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=5) as sock:
        for _ in range(turns):
            await asyncio.sleep(0)
        await simulator.close()
        gc.collect()  # an unclosed transport would warn here
        await asyncio.sleep(0)
        with suppress(ConnectionResetError):
            assert sock.recv(1) == b""
    assert simulator.connection_count == 0


async def test_close_is_idempotent() -> None:
    """Closing twice, or before the start, does nothing."""
    simulator = Simulator(timings=FAST_TIMINGS)
    await simulator.close()
    await simulator.start()
    await simulator.close()
    await simulator.close()
    with pytest.raises(httpx2.ConnectError):
        await httpx2.AsyncClient(trust_env=False).get(f"{simulator.base_url}/models")


async def test_closed_server_can_be_started_again() -> None:
    """A closed server with a given port can be started again on that port."""
    async with Simulator(timings=FAST_TIMINGS) as first:
        port = first.port
    again = Simulator(timings=FAST_TIMINGS, port=port)
    for _ in range(2):
        async with again:
            assert (await fetch_raw(again, "sim-ok")).text == "Pong! The canary sings."


async def test_second_start_is_rejected() -> None:
    """Starting a started server raises RuntimeError."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        with pytest.raises(RuntimeError, match="started already"):
            await simulator.start()


def test_address_before_start_is_rejected() -> None:
    """Reading the address before the start raises RuntimeError."""
    with pytest.raises(RuntimeError, match="no address before it is started"):
        _ = Simulator().base_url


async def test_port_in_use_is_reported() -> None:
    """A port in use is reported with a suggestion."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        with pytest.raises(ListenError) as raised:
            await Simulator(port=simulator.port).start()
    advice = "stop what uses it, or choose another (0 takes any free one)"
    assert str(raised.value) == f"port {simulator.port} on 127.0.0.1 is in use: {advice}"


@pytest.mark.parametrize(
    ("host", "port", "message"),
    [
        ("192.0.2.1", 0, "192.0.2.1 is not an address of this machine: listen on 127.0.0.1, or on one it has"),
        ("127.0.0.1", 70000, "port 70000 does not exist: choose one from 0 to 65535 (0 takes any free one)"),
    ],
)
async def test_unavailable_address_is_reported(host: str, port: int, message: str) -> None:
    """An unavailable address or port is reported with a suggestion."""
    with pytest.raises(ListenError) as raised:
        await Simulator(host=host, port=port).start()
    assert str(raised.value) == message


async def test_requests_are_recorded() -> None:
    """A request is recorded with time, content and status, and of the key only its presence."""
    clock = ManualClock()
    async with Simulator(timings=FAST_TIMINGS, clock=clock) as simulator:
        clock.advance(7)
        async with httpx2.AsyncClient(trust_env=False) as client:
            headers = {"authorization": "Bearer sk-secret-secret", "traceparent": "00-a-b-01", "cookie": "x"}
            response = await client.get(f"{simulator.base_url}/models/sim-ok", headers=headers)
        [request] = simulator.requests
    assert request.id == response.headers["x-request-id"]
    assert (request.at, request.elapsed) == (1_800_000_007.0, 7.0)
    assert (request.method, request.path, request.authorization) == ("GET", "/v1/models/sim-ok", True)
    assert (request.model, request.stream, request.fault) == (None, None, None)
    assert request.headers["traceparent"] == "00-a-b-01"
    assert "secret" not in repr(request)
    assert "cookie" not in request.headers


async def test_model_stream_and_fault_are_recorded() -> None:
    """Each completion request is recorded with model, stream and fault; an unknown model has no fault."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        await fetch_raw(simulator, "sim-500@1")
        await fetch_raw(simulator, "sim-500@1", stream=False)
        await fetch_raw(simulator, "gpt-9")
        asked = [(request.model, request.stream, request.fault) for request in simulator.requests]
    assert asked == [("sim-500@1", True, "500"), ("sim-500@1", False, "ok"), ("gpt-9", True, None)]


async def test_responses_are_recorded() -> None:
    """The head of each response is recorded in request order, or None if none was sent."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = [
            await fetch_raw(simulator, f"sim-{fault}") for fault in ("ok", "garbage", "429-retry-after-ms", "close")
        ]
        assert [200, None, 429, None] == [sent.status for sent in simulator.responses]
        assert [request.id for request in simulator.requests] == [sent.id for sent in simulator.responses]
        assert [each.headers.get("x-request-id") for each in seen] == [sent.request_id for sent in simulator.responses]
        assert [seen[0].headers, {}, seen[2].headers, {}] == [sent.headers for sent in simulator.responses]


async def test_request_record_is_bounded() -> None:
    """The record is bounded to a thousand requests and 8 KiB of each body."""
    async with Simulator(timings=FAST_TIMINGS) as simulator, httpx2.AsyncClient(trust_env=False) as client:
        for number in range(1001):
            await client.get(f"{simulator.base_url}/{number}")
        assert (len(simulator.requests), simulator.requests[0].path) == (1000, "/v1/1")
        await client.post(simulator.base_url, content=b"x" * 100_000)
        assert simulator.requests[-1].body == "x" * 8192


async def test_request_record_is_served_as_json() -> None:
    """The record is served as JSON, and reading it is not recorded."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        await fetch_raw(simulator, "sim-429")
        async with httpx2.AsyncClient(trust_env=False) as client:
            for _ in range(2):
                answer = (await client.get(f"http://127.0.0.1:{simulator.port}/_requests")).json()
    [request] = answer["requests"]
    assert (request["model"], request["fault"], request["authorization"]) == ("sim-429", "429", False)


async def test_on_request_is_called_for_each_request() -> None:
    """``on_request`` is called for each request as it is answered."""
    recorded: list[RecordedRequest] = []
    async with Simulator(timings=FAST_TIMINGS, on_request=recorded.append) as simulator:
        await fetch_raw(simulator, "sim-ok")
        assert tuple(recorded) == simulator.requests


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [({}, 401, None), ({"authorization": "Bearer sk-wrong-wrong"}, 401, "invalid_api_key")],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/chat/completions"), ("POST", "/responses"), ("GET", "/models"), ("GET", "/models/x")],
)
async def test_wrong_key_is_rejected(
    method: str, path: str, header: dict[str, str], status: int, code: str | None
) -> None:
    """A wrong key gets a 401 in OpenAI's format that contains neither key."""
    async with Simulator(timings=FAST_TIMINGS, api_key="sk-right-right") as simulator:
        async with httpx2.AsyncClient(trust_env=False) as client:
            response = await client.request(method, simulator.base_url + path, headers=header)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
        assert "right" not in response.text
        assert "wrong" not in response.text
        assert "wrong" not in repr(simulator.requests)


async def test_right_key_is_accepted() -> None:
    """The right key is accepted on every path."""
    key = {"authorization": "Bearer sk-right-right"}
    async with (
        Simulator(timings=FAST_TIMINGS, api_key="sk-right-right") as simulator,
        httpx2.AsyncClient(trust_env=False, headers=key) as client,
    ):
        body = {"model": "sim-ok", "messages": []}
        assert (await client.post(f"{simulator.base_url}/chat/completions", json=body)).status_code == 200
        assert (await client.get(f"{simulator.base_url}/models")).status_code == 200


async def test_connection_is_kept_alive() -> None:
    """The next request uses the same connection, also after a complete error response."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        async with httpx2.AsyncClient(trust_env=False) as client:
            for model in ("sim-ok", "sim-500", "sim-html-200", "sim-204", "sim-ok"):
                body = {"model": model, "messages": [], "stream": True}
                await client.post(f"{simulator.base_url}/chat/completions", json=body)
                assert simulator.connection_count == 1
        await wait_until(lambda: simulator.connection_count == 0)


async def test_concurrent_streams_are_independent() -> None:
    """Concurrent streams each get their own answer and id."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = await asyncio.gather(*(fetch_raw(simulator, "sim-ok" if n % 2 else "sim-length") for n in range(20)))
    assert [one.finish_reason for one in seen] == ["length", "stop"] * 10
    assert len({one.events[0]["id"] for one in seen}) == 20


async def test_redirect_leads_to_a_login_page() -> None:
    """A client that follows the redirect gets HTML and status 200."""
    async with (
        Simulator(timings=FAST_TIMINGS) as simulator,
        httpx2.AsyncClient(trust_env=False, follow_redirects=True) as client,
    ):
        body = {"model": "sim-redirect", "messages": []}
        response = await client.post(f"{simulator.base_url}/chat/completions", json=body)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "Sign in" in response.text


@pytest.mark.parametrize(
    ("fault", "end"), [("ok", "whole"), ("cut", "RemoteProtocolError"), ("reset-stream", "ReadError"), ("500", "whole")]
)
async def test_faults_work_over_tls(fault: str, end: str) -> None:
    """Cut and reset happen below TLS, and responses above it."""
    async with Simulator(timings=FAST_TIMINGS, ssl=server_tls()) as simulator:
        assert (await fetch_raw(simulator, f"sim-{fault}", verify=client_tls())).ending == end
        await wait_until(lambda: simulator.connection_count == 0)


async def test_client_that_never_reads_does_not_block_close() -> None:
    """A client with a full socket does not block the close of the server."""
    recorded: list[RecordedRequest] = []
    async with Simulator(timings=HANGING_TIMINGS, on_request=recorded.append) as simulator:
        _, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        assert isinstance(writer.transport, asyncio.ReadTransport)
        writer.transport.pause_reading()
        writer.write(b"GET /v1/models HTTP/1.1\r\n\r\n" * 5000)
        before = -1
        while len(recorded) != before:
            before = len(recorded)
            await asyncio.sleep(0.3)
        assert 0 < len(recorded) < 5000
        started = time.monotonic()
    assert (simulator.connection_count, time.monotonic() - started < 2) == (0, True)
    writer.transport.abort()


async def test_connections_over_the_limit_are_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection over the limit is reset, open connections continue, and a closed one makes room."""
    monkeypatch.setattr("streamcanary.simulator.server.MAX_CONNECTIONS", 2)
    async with Simulator(timings=HANGING_TIMINGS) as simulator:
        first, second = await start_hanging_request(simulator, "stall"), await start_hanging_request(simulator, "stall")
        assert (await fetch_raw(simulator, "sim-ok")).ending in {"ReadError", "RemoteProtocolError", "WriteError"}
        assert simulator.connection_count == 2
        first.transport.abort()
        await wait_until(lambda: simulator.connection_count == 1)
        assert (await fetch_raw(simulator, "sim-ok")).ending == "whole"
        second.transport.abort()


async def test_internal_error_is_reported_to_the_event_loop() -> None:
    """An internal error closes the connection, is reported to the event loop, and the server continues."""
    recorded: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: recorded.append(context["exception"]))
    bug = LookupError("a bug")

    def raise_bug(request: RecordedRequest) -> None:
        if request.model == "sim-500":
            raise bug

    async with Simulator(timings=FAST_TIMINGS, on_request=raise_bug) as simulator:
        assert (await fetch_raw(simulator, "sim-500")).ending == "RemoteProtocolError"
        await wait_until(lambda: recorded == [bug])
        assert (await fetch_raw(simulator, "sim-ok")).ending == "whole"


async def test_ipv6_address_is_in_brackets() -> None:
    """The base URL has an IPv6 address in brackets, where the machine has IPv6."""
    try:
        async with Simulator(timings=FAST_TIMINGS, host="::1") as simulator:
            assert simulator.base_url == f"http://[::1]:{simulator.port}/v1"
            assert (await fetch_raw(simulator, "sim-ok")).status == 200
    except ListenError as error:
        pytest.skip(f"no IPv6 here: {error}")
