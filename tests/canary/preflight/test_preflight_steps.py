"""The way to an endpoint, step by step: what is found, which step is the first that is broken, and why."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamcanary.canary.preflight import diagnose
from streamcanary.canary.target import TargetSpec
from streamcanary.model.clock import SystemClock
from streamcanary.model.diagnosis import Diagnosis, DiagnosisStep, StepName, StepState
from streamcanary.model.faults import FaultKind
from streamcanary.simulator import Simulator
from support.clock import ManualClock
from support.servers.simulator import FAST_TIMINGS, wait_until
from support.servers.tcp import FixedHttpServer, TcpServer, http_response

KEY = "sk-live-5up3rs3cr3tk3y"
MODELS = {"data": [{"id": "alpha"}, {"id": "beta"}]}
OK, FAILED, SKIPPED, UNKNOWN = StepState.OK, StepState.FAILED, StepState.SKIPPED, StepState.UNKNOWN


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(timings=FAST_TIMINGS, api_key=KEY) as simulator:
        yield simulator


def target(base_url: str, **more: Any) -> TargetSpec:
    """Return a target at ``base_url``."""
    key = {} if "api_key_file" in more else {"api_key": KEY}
    return TargetSpec.model_validate({"base_url": base_url, **key, **more})


async def walk(base_url: str, model: str = "alpha", seconds: float = 20.0, **more: Any) -> Diagnosis:
    """Diagnose the way to ``base_url``."""
    return await diagnose(target(base_url, **more), model, clock=SystemClock(), timeout=seconds)


def states(diagnosis: Diagnosis) -> list[StepState]:
    """Return how the steps ended."""
    return [step.state for step in diagnosis.steps]


def verdict(diagnosis: Diagnosis, name: StepName, kind: FaultKind, *words: str) -> DiagnosisStep:
    """See that ``name`` is the first broken step, with these words, and that no later one was tried; return it."""
    step = diagnosis.first_failure
    assert step is not None, diagnosis
    number = list(StepName).index(name)
    assert (name, kind) == (step.name, step.kind), step
    assert {SKIPPED} >= {step.state for step in diagnosis.steps[number + 1 :]}
    assert [] == [word for word in words if word not in f"{step.message} > {step.remedy}"], step
    assert "" != step.remedy
    return step


async def test_all_steps_are_told_in_their_order(simulator: Simulator) -> None:
    """A good way: no verdict, and what was found at each step."""
    diagnosis = await walk(simulator.base_url, "sim-ok")
    assert list(StepName) == [step.name for step in diagnosis.steps]
    assert [OK, OK, OK, OK, SKIPPED, SKIPPED, OK, OK] == states(diagnosis)
    assert (None, None, None) == (diagnosis.first_failure, diagnosis.proxy, diagnosis.certificate)
    assert (simulator.base_url, "sim-ok") == (diagnosis.base_url, diagnosis.model)
    models = diagnosis.steps[6]
    assert (200, True) == (models.status, str(models.request_id).startswith("req_"))
    assert "no step is known to be broken" == str(diagnosis)


async def test_a_step_takes_the_time_that_the_clock_says(simulator: Simulator) -> None:
    """Each has its own seconds, and the whole their sum."""

    class Ticking(ManualClock):
        def monotonic(self) -> float:
            self.advance(0.25)
            return super().monotonic()

    diagnosis = await diagnose(target(simulator.base_url), "sim-ok", clock=Ticking(wall=1_800_000_000.0))
    assert {0.25, 0.75} == {step.seconds for step in diagnosis.steps}  # connecting looks at the clock twice more
    assert [StepName.TCP] == [step.name for step in diagnosis.steps if step.seconds == 0.75]
    assert diagnosis.started == 1_800_000_000.0
    assert diagnosis.seconds >= sum(step.seconds for step in diagnosis.steps)


async def test_a_diagnosis_can_be_carried_elsewhere(simulator: Simulator) -> None:
    """It survives JSON, as a page carries it."""
    diagnosis = await walk(simulator.base_url, "sim-oops")
    assert diagnosis == msgspec.json.decode(msgspec.json.encode(diagnosis), type=Diagnosis)


@pytest.mark.parametrize(
    ("key", "kind", "words"),
    [
        ("sk-live\n-5up3rs3cr3tk3y", FaultKind.INVALID_REQUEST, "contains a line break"),
        ("sk-live-5up3rs3cr3tk3ÿ", FaultKind.INVALID_REQUEST, "contains a character that is not ASCII"),
        ("sk-live-\x075up3rs3cr3tk3y", FaultKind.INVALID_REQUEST, "contains a control character"),
    ],
)
async def test_a_key_that_cannot_be_sent(
    simulator: Simulator, tmp_path: Path, key: str, kind: FaultKind, words: str
) -> None:
    """The key, a key from a file and a header are looked at alike; nothing is sent, and the secret not shown."""
    file = tmp_path / "key"
    file.write_text("sk-good")
    keys = {"the key ": {"api_key": key}, str(file): {"api_key_file": file}}
    headers = {"the header X-Team ": {"headers": {"X-Team": {"file": file}}}}
    targets = {where: target(simulator.base_url, **more) for where, more in {**keys, **headers}.items()}
    file.write_text(key)  # since the configuration was read
    for where, asked in targets.items():
        diagnosis = await diagnose(asked, "sim-ok", clock=SystemClock())
        verdict(diagnosis, StepName.KEY, kind, words, where)
        assert "5up3rs3cr3t" not in repr(diagnosis)
    assert () == simulator.requests


@pytest.mark.parametrize(("content", "words"), [(None, "No such file"), ("", "is empty"), ("\n", "is empty")])
async def test_a_key_file_that_gives_no_key(tmp_path: Path, content: str | None, words: str) -> None:
    """The message names the file."""
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    diagnosis = await walk("http://127.0.0.1:9/v1", api_key_file=file)
    verdict(diagnosis, StepName.KEY, FaultKind.AUTH_FAILED, words, str(file))


@pytest.mark.parametrize("key", ['"sk-live-0123"', "Bearer sk-live-0123"])
async def test_a_key_with_something_in_front(simulator: Simulator, key: str) -> None:
    """It can be sent, and is probably a mistake: the step says so before the endpoint refuses it."""
    diagnosis = await walk(simulator.base_url, api_key=key)
    assert "remove this prefix" in diagnosis.steps[0].remedy
    verdict(diagnosis, StepName.MODELS, FaultKind.AUTH_FAILED, "HTTP 401", "rejects the key")


@pytest.mark.parametrize(
    ("base_url", "words"),
    [
        ("https://exa$mple.com/v1", "has no valid host name"),
        ("https://api.example.com/v1/chat/completions", "ends with /chat/completions"),
    ],
)
async def test_an_address_that_cannot_be_asked(base_url: str, words: str) -> None:
    """What is wrong with it is told before anything is looked up."""
    verdict(await walk(base_url), StepName.ADDRESS, FaultKind.INVALID_REQUEST, words)


@pytest.mark.parametrize("host", ["nowhere.invalid", f"{'a' * 64}.invalid"])
async def test_a_name_without_addresses(host: str) -> None:
    """The top-level domain ``invalid`` has none, by RFC 6761."""
    diagnosis = await walk(f"https://{host}/v1")
    verdict(diagnosis, StepName.DNS, FaultKind.DNS_FAILED, host, "check the host in base_url")


def resolve(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Have every name stand for ``addresses``, or never be answered; there is no name server in a test."""

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        if not addresses:
            await asyncio.Event().wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def test_a_name_server_that_keeps_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step ends in time, and says whom to look at."""
    resolve(monkeypatch)
    diagnosis = await walk("https://api.example.com/v1", seconds=0.05)
    verdict(diagnosis, StepName.DNS, FaultKind.DNS_FAILED, "no answer from the name server within 0.05 s", "port 53")


async def test_every_address_is_told_of(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that refuses does not hide one that answers, which is used."""
    resolve(monkeypatch, "127.0.0.2", "127.0.0.1")
    diagnosis = await walk(f"http://provider.invalid:{simulator.port}/v1", "sim-ok")
    assert "provider.invalid resolves to 127.0.0.2, 127.0.0.1" == diagnosis.steps[2].message
    assert "127.0.0.2: connection refused; 127.0.0.1: connected in " in diagnosis.steps[3].message
    assert OK is diagnosis.steps[3].state


async def test_a_port_that_nothing_listens_on() -> None:
    """Refused, by name."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        port = unheard.getsockname()[1]
        diagnosis = await walk(f"http://127.0.0.1:{port}/v1")
    step = verdict(diagnosis, StepName.TCP, FaultKind.CONNECT_FAILED, "firewall or network policy")
    assert f"port {port} at 127.0.0.1: connection refused" == step.message


@pytest.fixture
def full() -> Iterator[int]:
    """Return a port whose queue is full: whoever connects gets no answer."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_a_connection_that_is_not_taken(full: int) -> None:
    """Silence is told from a refusal."""
    diagnosis = await walk(f"http://127.0.0.1:{full}/v1", seconds=0.2)
    verdict(diagnosis, StepName.TCP, FaultKind.CONNECT_TIMEOUT, "127.0.0.1: no answer within 0.2 s", "firewall")


LOGIN = "a login page, or base_url is wrong"


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (
            http_response(401, {"error": {"message": f"Incorrect key {KEY}"}}),
            FaultKind.AUTH_FAILED,
            "HTTP 401: Incorrect key [red",
        ),
        (
            http_response(401, "no", "text/plain"),
            FaultKind.AUTH_FAILED,
            "rejects the key, HTTP 401 > check that",
        ),
        (
            http_response(403, {"error": {"message": "Not from here"}}),
            FaultKind.PERMISSION_DENIED,
            "HTTP 403: Not from here",
        ),
        (http_response(429, {"error": {}}, retry_after="7"), FaultKind.RATE_LIMITED, "Retry-After is 7 s"),
        (
            http_response(429, {"error": {"code": "insufficient_quota"}}),
            FaultKind.QUOTA_EXHAUSTED,
            "check its billing",
        ),
        (http_response(500, "<html>", "text/html"), FaultKind.SERVER_ERROR, "the endpoint has an internal error, HTTP 500"),
        (http_response(503), FaultKind.OVERLOADED, "HTTP 503"),
        (
            http_response(400, {"error": {"message": "API key not valid"}}),
            FaultKind.BAD_REQUEST,
            "HTTP 400: API key not valid",
        ),
        (
            http_response(302, location="/login?session=s3ss10n"),
            FaultKind.NOT_A_STREAM,
            f"HTTP 302 redirects to /login: {LOGIN}",
        ),
        (http_response(200, "<html>", "text/html; charset=utf-8"), FaultKind.NOT_A_STREAM, LOGIN),
        (b"SSH-2.0-OpenSSH_9.2\r\n", FaultKind.CONNECTION_LOST, "check base_url"),
        (http_response(200, MODELS)[:-9], FaultKind.CONNECTION_LOST, "connection was lost"),
    ],
)
async def test_an_endpoint_that_refuses(answer: bytes, kind: FaultKind, words: str) -> None:
    """Each way to refuse is named, with its status, in plain words; a secret that comes back is not shown."""
    async with FixedHttpServer({"models": answer}) as endpoint:
        diagnosis = await walk(endpoint.base_url)
    verdict(diagnosis, StepName.MODELS, kind, words)
    assert [] == [secret for secret in (KEY, "s3ss10n") if secret in repr(diagnosis)]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http_response(404, "<html>", "text/html"), "no list of models, HTTP 404 (HTML page)"),
        (http_response(405), "no list of models, HTTP 405"),
        (
            http_response(307, location="http://127.0.0.1:9/v1/models/"),
            "HTTP 307 redirects to http://127.0.0.1:9/v1/models/",
        ),
        (http_response(403, {"error": {"message": "Missing scopes: api.model.read"}}), "may not list models"),
        (http_response(200, "OK", "text/plain"), "is not a list of models"),
        (http_response(200, "[" * 100_000), "is not a list of models"),
        (http_response(200, {"data": [{"id": "x" * 1000}] * 1100}), "is longer than 1 MiB"),
    ],
)
async def test_an_endpoint_that_does_not_tell_its_models(answer: bytes, words: str) -> None:
    """Not every server has a list: nothing is broken by that, and the model is asked for by its name."""
    async with FixedHttpServer({"models": answer, "models/alpha": http_response(200, {"id": "alpha"})}) as endpoint:
        diagnosis = await walk(endpoint.base_url)
    assert (None, [UNKNOWN, OK]) == (diagnosis.first_failure, states(diagnosis)[-2:])
    assert words in diagnosis.steps[6].message


@pytest.mark.parametrize("models", [MODELS, MODELS["data"]])
async def test_a_model_that_is_listed(models: Any) -> None:
    """The list is enough, with or without the object around it; no second request is sent."""
    async with FixedHttpServer({"models": http_response(200, models, x_request_id="req_7")}) as endpoint:
        diagnosis = await walk(endpoint.base_url)
        assert 1 == len(endpoint.heads)
    assert "alpha is one of the 2 listed models" == diagnosis.steps[7].message
    assert (200, "req_7") == (diagnosis.steps[6].status, diagnosis.steps[6].request_id)


UNKNOWN_MODEL = http_response(404, {"error": {"message": "gone", "code": "model_not_found"}})


@pytest.mark.parametrize(
    ("models", "answer", "state", "words"),
    [
        (http_response(200, MODELS), http_response(200, {"id": "models/alpah"}), OK, "alpah exists"),
        (http_response(200, MODELS), UNKNOWN_MODEL, FAILED, "not one of the 2 listed models; did you mean alpha?"),
        (http_response(200, {"data": []}), UNKNOWN_MODEL, FAILED, "alpah does not exist: gone"),
        (http_response(404), UNKNOWN_MODEL, FAILED, "alpah does not exist: gone"),
        (http_response(404), http_response(404), UNKNOWN, "cannot determine whether alpah exists (HTTP 404)"),
        (http_response(200, MODELS), http_response(500), UNKNOWN, "cannot determine whether alpah exists (HTTP 500)"),
        (http_response(200, MODELS), http_response(200, "<html>", "text/html"), UNKNOWN, "(HTTP 200)"),
        (http_response(200, MODELS), b"HTTP/1.1 200", UNKNOWN, "could not be requested"),
    ],
)
async def test_a_model_that_is_not_listed(models: bytes, answer: bytes, state: StepState, words: str) -> None:
    """It is asked for by name, since lists leave out aliases; what no answer rules out is not called broken."""
    async with FixedHttpServer({"models": models, "models/alpah": answer}) as endpoint:
        step = (await walk(endpoint.base_url, "alpah")).steps[7]
    assert state is step.state, step
    assert words in str(step)


async def test_the_request_is_the_clients() -> None:
    """It has our key and the target's headers, which may replace it."""
    async with FixedHttpServer({"models": http_response(200, MODELS)}) as endpoint:
        await walk(endpoint.base_url, headers={"X-Team": "search"})
        await walk(endpoint.base_url, headers={"Authorization": "Basic eHh4"})
    lines = [
        {line for line in head.lower().split("\r\n") if line.startswith(("x-team", "auth"))} for head in endpoint.heads
    ]
    assert [{"x-team: search", f"authorization: bearer {KEY}"}, {"authorization: basic ehh4"}] == lines


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Read, and never answer."""
    await reader.read()


async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer without an end."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("talk", [silence, trickle])
async def test_an_answer_that_does_not_come(talk: Any) -> None:
    """Neither silence nor an answer without an end holds up the diagnosis."""
    async with TcpServer(talk) as listener:
        begun = time.monotonic()
        diagnosis = await walk(listener.base_url, seconds=0.5)
        assert time.monotonic() - begun < 10
        await wait_until(lambda: listener.connections == 0)
    verdict(diagnosis, StepName.MODELS, FaultKind.HEADERS_TIMEOUT, "no complete response within 0.5 s")


async def test_an_answer_without_end_at_full_speed() -> None:
    """No more than a mebibyte is read."""

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 65536)
            await writer.drain()

    async with TcpServer(flood) as listener:
        diagnosis = await walk(listener.base_url)
    assert "longer than 1 MiB" in diagnosis.steps[6].message
    assert [UNKNOWN, UNKNOWN] == states(diagnosis)[-2:]


async def test_cancellation_leaves_nothing_open() -> None:
    """A diagnosis that is cancelled ends at once, and closes its connection."""
    async with TcpServer(silence) as listener:
        task = asyncio.create_task(walk(listener.base_url))
        await wait_until(lambda: listener.connections > 0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_until(lambda: listener.connections == 0)


async def test_a_check_that_breaks_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """What breaks in our own code says nothing about the endpoint, and never reaches the caller."""

    async def broken(*_: Any, **__: Any) -> list[Any]:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", broken)
    diagnosis = await walk("https://api.example.com/v1")
    assert "internal error: ZeroDivisionError: oh" == diagnosis.steps[2].message
    assert (None, [OK, OK, UNKNOWN, *[SKIPPED] * 5]) == (diagnosis.first_failure, states(diagnosis))


async def test_a_local_server_with_its_own_name_for_a_key() -> None:
    """``api_key: ollama`` is no secret: the host of that name is still shown."""
    diagnosis = await walk("http://ollama.invalid/v1", "llama3", api_key="ollama")
    verdict(diagnosis, StepName.DNS, FaultKind.DNS_FAILED, "ollama.invalid")
    assert "http://ollama.invalid/v1" == diagnosis.base_url
