"""The simulator as a server: its start and end, its connections, its memory, its key."""

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


async def hang(simulator: Simulator, fault: str) -> asyncio.StreamWriter:
    """Ask for ``fault`` on a connection of its own, and return once it is being played."""
    seen = len(simulator.requests)
    _, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    body = json.dumps({"model": f"sim-{fault}", "messages": [], "stream": True}).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    await wait_until(lambda: len(simulator.requests) > seen)
    return writer


@pytest.mark.parametrize("fault", HANGING)
async def test_a_client_that_leaves_a_hang_leaves_nothing_behind(fault: str) -> None:
    """The server notices at once."""
    async with Simulator(timings=HANGING_TIMINGS) as simulator:
        writer = await hang(simulator, fault)
        assert simulator.connection_count == 1
        writer.close()
        await writer.wait_closed()
        await wait_until(lambda: simulator.connection_count == 0)


@pytest.mark.parametrize("fault", HANGING)
async def test_a_client_that_crashes_in_a_hang_leaves_nothing_behind(fault: str) -> None:
    """A RST is noticed like a FIN."""
    async with Simulator(timings=HANGING_TIMINGS) as simulator:
        writer = await hang(simulator, fault)
        writer.transport.abort()
        await wait_until(lambda: simulator.connection_count == 0)


async def test_closing_ends_every_hang_at_once() -> None:
    """However long they would have lasted."""
    simulator = Simulator(timings=HANGING_TIMINGS)
    await simulator.start()
    writers = [await hang(simulator, fault) for fault in HANGING]
    assert simulator.connection_count == len(HANGING)
    started = time.monotonic()
    await simulator.close()
    assert time.monotonic() - started < 2
    assert simulator.connection_count == 0
    for writer in writers:
        writer.transport.abort()


@pytest.mark.parametrize("turns", range(6))
async def test_closing_ends_a_connection_that_comes_in_just_then(turns: int) -> None:
    """However far the loop has come with accepting it, it is not lost."""
    simulator = Simulator(timings=HANGING_TIMINGS)
    await simulator.start()
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=5) as sock:
        for _ in range(turns):
            await asyncio.sleep(0)
        await simulator.close()
        gc.collect()  # what was lost would tell so here
        await asyncio.sleep(0)
        with suppress(ConnectionResetError):
            assert sock.recv(1) == b""
    assert simulator.connection_count == 0


async def test_closing_twice_does_nothing_more() -> None:
    """Nor does closing what was never started."""
    simulator = Simulator(timings=FAST_TIMINGS)
    await simulator.close()
    await simulator.start()
    await simulator.close()
    await simulator.close()
    with pytest.raises(httpx2.ConnectError):
        await httpx2.AsyncClient(trust_env=False).get(f"{simulator.base_url}/models")


async def test_what_was_closed_can_be_started_again() -> None:
    """On the same port, if it was given one: a provider that comes back."""
    async with Simulator(timings=FAST_TIMINGS) as first:
        port = first.port
    again = Simulator(timings=FAST_TIMINGS, port=port)
    for _ in range(2):
        async with again:
            assert (await fetch_raw(again, "sim-ok")).text == "Pong! The canary sings."


async def test_it_is_started_once_at_a_time() -> None:
    """A second start is a mistake of the program."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        with pytest.raises(RuntimeError, match="started already"):
            await simulator.start()


def test_before_the_start_there_is_no_address() -> None:
    """Asking for it is a mistake of the program."""
    with pytest.raises(RuntimeError, match="no address before it is started"):
        _ = Simulator().base_url


async def test_a_port_in_use_is_told() -> None:
    """And what to do about it."""
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
async def test_an_address_that_cannot_be_had_is_told(host: str, port: int, message: str) -> None:
    """Each with what would be right."""
    with pytest.raises(ListenError) as raised:
        await Simulator(host=host, port=port).start()
    assert str(raised.value) == message


async def test_it_remembers_what_it_was_asked() -> None:
    """When, what, how it was answered; of the key, that there was one."""
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


async def test_it_remembers_model_stream_and_fault() -> None:
    """Of each completion asked for; unknown models have no fault."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        await fetch_raw(simulator, "sim-500@1")
        await fetch_raw(simulator, "sim-500@1", stream=False)
        await fetch_raw(simulator, "gpt-9")
        asked = [(request.model, request.stream, request.fault) for request in simulator.requests]
    assert asked == [("sim-500@1", True, "500"), ("sim-500@1", False, "ok"), ("gpt-9", True, None)]


async def test_it_remembers_what_it_sent() -> None:
    """The head of each answer, in the order of the requests; nothing where none went out."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = [
            await fetch_raw(simulator, f"sim-{fault}") for fault in ("ok", "garbage", "429-retry-after-ms", "close")
        ]
        assert [200, None, 429, None] == [sent.status for sent in simulator.responses]
        assert [request.id for request in simulator.requests] == [sent.id for sent in simulator.responses]
        assert [each.headers.get("x-request-id") for each in seen] == [sent.request_id for sent in simulator.responses]
        assert [seen[0].headers, {}, seen[2].headers, {}] == [sent.headers for sent in simulator.responses]


async def test_it_forgets_the_oldest_and_cuts_the_longest() -> None:
    """A thousand requests, 8 KiB of each body."""
    async with Simulator(timings=FAST_TIMINGS) as simulator, httpx2.AsyncClient(trust_env=False) as client:
        for number in range(1001):
            await client.get(f"{simulator.base_url}/{number}")
        assert (len(simulator.requests), simulator.requests[0].path) == (1000, "/v1/1")
        await client.post(simulator.base_url, content=b"x" * 100_000)
        assert simulator.requests[-1].body == "x" * 8192


async def test_people_can_read_what_it_remembers() -> None:
    """As JSON; looking leaves no trace."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        await fetch_raw(simulator, "sim-429")
        async with httpx2.AsyncClient(trust_env=False) as client:
            for _ in range(2):
                answer = (await client.get(f"http://127.0.0.1:{simulator.port}/_requests")).json()
    [request] = answer["requests"]
    assert (request["model"], request["fault"], request["authorization"]) == ("sim-429", "429", False)


async def test_who_wants_to_know_is_told_of_each_request() -> None:
    """As it is answered."""
    told: list[RecordedRequest] = []
    async with Simulator(timings=FAST_TIMINGS, on_request=told.append) as simulator:
        await fetch_raw(simulator, "sim-ok")
        assert tuple(told) == simulator.requests


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [({}, 401, None), ({"authorization": "Bearer sk-wrong-wrong"}, 401, "invalid_api_key")],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/chat/completions"), ("POST", "/responses"), ("GET", "/models"), ("GET", "/models/x")],
)
async def test_the_wrong_key_opens_nothing(
    method: str, path: str, header: dict[str, str], status: int, code: str | None
) -> None:
    """401 as OpenAI says it, and neither key is in the answer."""
    async with Simulator(timings=FAST_TIMINGS, api_key="sk-right-right") as simulator:
        async with httpx2.AsyncClient(trust_env=False) as client:
            response = await client.request(method, simulator.base_url + path, headers=header)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
        assert "right" not in response.text
        assert "wrong" not in response.text
        assert "wrong" not in repr(simulator.requests)


async def test_the_right_key_opens_everything() -> None:
    """As it should."""
    key = {"authorization": "Bearer sk-right-right"}
    async with (
        Simulator(timings=FAST_TIMINGS, api_key="sk-right-right") as simulator,
        httpx2.AsyncClient(trust_env=False, headers=key) as client,
    ):
        body = {"model": "sim-ok", "messages": []}
        assert (await client.post(f"{simulator.base_url}/chat/completions", json=body)).status_code == 200
        assert (await client.get(f"{simulator.base_url}/models")).status_code == 200


async def test_a_good_answer_leaves_its_connection_open() -> None:
    """The next request comes on the same one; so it does after an error that was answered whole."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        async with httpx2.AsyncClient(trust_env=False) as client:
            for model in ("sim-ok", "sim-500", "sim-html-200", "sim-204", "sim-ok"):
                body = {"model": model, "messages": [], "stream": True}
                await client.post(f"{simulator.base_url}/chat/completions", json=body)
                assert simulator.connection_count == 1
        await wait_until(lambda: simulator.connection_count == 0)


async def test_many_streams_at_once_do_not_mix() -> None:
    """Each gets its own answer under its own id."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        seen = await asyncio.gather(*(fetch_raw(simulator, "sim-ok" if n % 2 else "sim-length") for n in range(20)))
    assert [one.finish_reason for one in seen] == ["length", "stop"] * 10
    assert len({one.events[0]["id"] for one in seen}) == 20


async def test_a_redirect_leads_to_a_page_to_sign_in() -> None:
    """A client that follows it gets HTML and status 200."""
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
async def test_faults_show_through_tls_too(fault: str, end: str) -> None:
    """Cut and reset below it, answered above it."""
    async with Simulator(timings=FAST_TIMINGS, ssl=server_tls()) as simulator:
        assert (await fetch_raw(simulator, f"sim-{fault}", verify=client_tls())).ending == end
        await wait_until(lambda: simulator.connection_count == 0)


async def test_a_client_that_never_reads_does_not_hold_up_the_end() -> None:
    """Its socket is full and the server waits for it, until it is closed."""
    told: list[RecordedRequest] = []
    async with Simulator(timings=HANGING_TIMINGS, on_request=told.append) as simulator:
        _, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        assert isinstance(writer.transport, asyncio.ReadTransport)
        writer.transport.pause_reading()
        writer.write(b"GET /v1/models HTTP/1.1\r\n\r\n" * 5000)
        before = -1
        while len(told) != before:
            before = len(told)
            await asyncio.sleep(0.3)
        assert 0 < len(told) < 5000
        started = time.monotonic()
    assert (simulator.connection_count, time.monotonic() - started < 2) == (0, True)
    writer.transport.abort()


async def test_too_many_connections_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a RST; those that are open go on, and there is room again once one ends."""
    monkeypatch.setattr("streamcanary.simulator.server.MAX_CONNECTIONS", 2)
    async with Simulator(timings=HANGING_TIMINGS) as simulator:
        first, second = await hang(simulator, "stall"), await hang(simulator, "stall")
        assert (await fetch_raw(simulator, "sim-ok")).ending in {"ReadError", "RemoteProtocolError", "WriteError"}
        assert simulator.connection_count == 2
        first.transport.abort()
        await wait_until(lambda: simulator.connection_count == 1)
        assert (await fetch_raw(simulator, "sim-ok")).ending == "whole"
        second.transport.abort()


async def test_a_bug_is_told_to_the_loop() -> None:
    """The connection ends, the server goes on."""
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    bug = LookupError("a bug")

    def stumble(request: RecordedRequest) -> None:
        if request.model == "sim-500":
            raise bug

    async with Simulator(timings=FAST_TIMINGS, on_request=stumble) as simulator:
        assert (await fetch_raw(simulator, "sim-500")).ending == "RemoteProtocolError"
        await wait_until(lambda: told == [bug])
        assert (await fetch_raw(simulator, "sim-ok")).ending == "whole"


async def test_ipv6_addresses_stand_in_brackets() -> None:
    """In the base URL, where the machine has them."""
    try:
        async with Simulator(timings=FAST_TIMINGS, host="::1") as simulator:
            assert simulator.base_url == f"http://[::1]:{simulator.port}/v1"
            assert (await fetch_raw(simulator, "sim-ok")).status == 200
    except ListenError as error:
        pytest.skip(f"no IPv6 here: {error}")
