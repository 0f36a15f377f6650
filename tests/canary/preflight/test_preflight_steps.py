"""Diagnosis of an endpoint: the steps, the first failure and its message."""

import asyncio
import gzip
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamcanary.canary.preflight import diagnose
from streamcanary.client.drivers.loop_share import MAX_BODY_PIECES, MAX_SLICE, READ_COST
from streamcanary.model.clock import SystemClock
from streamcanary.model.diagnosis import Diagnosis, StepName, StepState
from streamcanary.model.faults import FaultKind
from streamcanary.simulator import Simulator
from streamcanary.transport.http1.connection import MAX_JOINED_CHUNKS
from support.client.turns import Turns
from support.clock import ManualClock
from support.diagnosis import KEY, assert_first_failure, never_answer, run_diagnosis, target
from support.servers.hostile import HostileServer, endless, gzip_bomb
from support.servers.simulator import wait_until
from support.servers.tcp import FixedHttpServer, TcpServer, http_response

MODELS = {"data": [{"id": "alpha"}, {"id": "beta"}]}
OK, FAILED, SKIPPED, UNKNOWN = StepState.OK, StepState.FAILED, StepState.SKIPPED, StepState.UNKNOWN


def states(diagnosis: Diagnosis) -> list[StepState]:
    """Return the states of the steps."""
    return [step.state for step in diagnosis.steps]


async def test_a_diagnosis_has_all_steps_in_order(simulator: Simulator) -> None:
    """A diagnosis of a working endpoint has no failure and the result of each step."""
    diagnosis = await run_diagnosis(simulator.base_url, "sim-ok")
    assert list(StepName) == [step.name for step in diagnosis.steps]
    assert [OK, OK, OK, OK, SKIPPED, SKIPPED, OK, OK] == states(diagnosis)
    assert (None, None, None) == (diagnosis.first_failure, diagnosis.proxy, diagnosis.certificate)
    assert (simulator.base_url, "sim-ok") == (diagnosis.base_url, diagnosis.model)
    models = diagnosis.steps[6]
    assert (200, True) == (models.status, str(models.request_id).startswith("req_"))
    assert "no step is known to be broken" == str(diagnosis)


async def test_durations_are_measured_with_the_clock(simulator: Simulator) -> None:
    """Each step has its duration, and the diagnosis at least their sum."""

    class Ticking(ManualClock):
        def monotonic(self) -> float:
            self.advance(0.25)
            return super().monotonic()

    diagnosis = await diagnose(target(simulator.base_url), "sim-ok", clock=Ticking(wall=1_800_000_000.0))
    assert {0.25, 0.75} == {step.seconds for step in diagnosis.steps}  # the TCP step reads the clock twice more
    assert [StepName.TCP] == [step.name for step in diagnosis.steps if step.seconds == 0.75]
    assert diagnosis.started == 1_800_000_000.0
    assert diagnosis.seconds >= sum(step.seconds for step in diagnosis.steps)


async def test_a_diagnosis_can_be_encoded_as_json(simulator: Simulator) -> None:
    """A diagnosis is unchanged after encoding to JSON and decoding."""
    diagnosis = await run_diagnosis(simulator.base_url, "sim-oops")
    assert diagnosis == msgspec.json.decode(msgspec.json.encode(diagnosis), type=Diagnosis)


@pytest.mark.parametrize(
    ("key", "kind", "words"),
    [
        ("sk-live\n-5up3rs3cr3tk3y", FaultKind.INVALID_REQUEST, "contains a line break"),
        ("sk-live-5up3rs3cr3tk3ÿ", FaultKind.INVALID_REQUEST, "contains a character that is not ASCII"),
        ("sk-live-\x075up3rs3cr3tk3y", FaultKind.INVALID_REQUEST, "contains a control character"),
    ],
)
async def test_a_key_that_is_no_valid_header_value_fails(
    simulator: Simulator, tmp_path: Path, key: str, kind: FaultKind, words: str
) -> None:
    """An invalid key, key file or header fails at the step key; no request is sent, and the secret is not shown."""
    file = tmp_path / "key"
    file.write_text("sk-good")
    keys = {"the key ": {"api_key": key}, str(file): {"api_key_file": file}}
    headers = {"the header X-Team ": {"headers": {"X-Team": {"file": file}}}}
    targets = {where: target(simulator.base_url, **more) for where, more in {**keys, **headers}.items()}
    file.write_text(key)  # after the configuration was read
    for where, spec in targets.items():
        diagnosis = await diagnose(spec, "sim-ok", clock=SystemClock())
        assert_first_failure(diagnosis, StepName.KEY, kind, words, where)
        assert "5up3rs3cr3t" not in repr(diagnosis)
    assert () == simulator.requests


@pytest.mark.parametrize(("content", "words"), [(None, "No such file"), ("", "is empty"), ("\n", "is empty")])
async def test_a_missing_or_empty_key_file_fails(tmp_path: Path, content: str | None, words: str) -> None:
    """A missing or empty key file fails, and the message contains its path."""
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    diagnosis = await run_diagnosis("http://127.0.0.1:9/v1", api_key_file=file)
    assert_first_failure(diagnosis, StepName.KEY, FaultKind.AUTH_FAILED, words, str(file))


@pytest.mark.parametrize("key", ['"sk-live-0123"', "Bearer sk-live-0123"])
async def test_a_key_with_a_wrong_prefix_has_a_remedy(simulator: Simulator, key: str) -> None:
    """A key with a quotation mark or ``Bearer`` in front can be sent; the step suggests to remove the prefix."""
    diagnosis = await run_diagnosis(simulator.base_url, api_key=key)
    assert "remove this prefix" in diagnosis.steps[0].remedy
    assert_first_failure(diagnosis, StepName.MODELS, FaultKind.AUTH_FAILED, "HTTP 401", "rejects the key")


@pytest.mark.parametrize(
    ("base_url", "words"),
    [
        ("https://exa$mple.com/v1", "has no valid host name"),
        ("https://api.example.com/v1/chat/completions", "ends with /chat/completions"),
    ],
)
async def test_an_invalid_base_url_fails(base_url: str, words: str) -> None:
    """An invalid base URL fails before any lookup."""
    assert_first_failure(await run_diagnosis(base_url), StepName.ADDRESS, FaultKind.INVALID_REQUEST, words)


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
        (http_response(500, "<html>", "text/html"), FaultKind.SERVER_ERROR, "has an internal error, HTTP 500"),
        (http_response(503), FaultKind.OVERLOADED, "HTTP 503"),
        (
            http_response(400, {"error": {"message": "API key not valid"}}),
            FaultKind.AUTH_FAILED,
            "HTTP 400: API key not valid",
        ),
        (
            http_response(302, location="/login?session=s3ss10n"),
            FaultKind.NOT_A_STREAM,
            f"HTTP 302 redirects to /login: {LOGIN}",
        ),
        (
            http_response(308, location=f"https://user:{KEY}@elsewhere.example/v1/models?key={KEY}#{KEY}"),
            FaultKind.NOT_A_STREAM,
            f"HTTP 308 redirects to https://elsewhere.example/v1/models: {LOGIN}",
        ),
        (
            http_response(200, MODELS, content_encoding="br"),
            FaultKind.NOT_A_STREAM,
            "its body has the content coding br, which the request did not offer",
        ),
        (
            http_response(200, MODELS, content_encoding="gzip, gzip"),
            FaultKind.NOT_A_STREAM,
            "more than one content coding",
        ),
        (http_response(200, "<html>", "text/html; charset=utf-8"), FaultKind.NOT_A_STREAM, LOGIN),
        (b"SSH-2.0-OpenSSH_9.2\r\n", FaultKind.CONNECTION_LOST, "check base_url"),
        (http_response(200, MODELS)[:-9], FaultKind.CONNECTION_LOST, "connection was lost"),
    ],
)
async def test_a_rejected_request_fails_with_its_reason(answer: bytes, kind: FaultKind, words: str) -> None:
    """Each kind of rejection has its message with the HTTP status; secrets in the response are redacted."""
    async with FixedHttpServer({"models": answer}) as endpoint:
        diagnosis = await run_diagnosis(endpoint.base_url)
    assert_first_failure(diagnosis, StepName.MODELS, kind, words)
    assert [] == [secret for secret in (KEY, "s3ss10n") if secret in repr(diagnosis)]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http_response(404, "<html>", "text/html"), "no list of models, HTTP 404 (HTML page)"),
        (http_response(405), "no list of models, HTTP 405"),
        (
            http_response(307, location="/v1/models/"),
            "HTTP 307 redirects to /v1/models/",
        ),
        (http_response(403, {"error": {"message": "Missing scopes: api.model.read"}}), "may not list models"),
        (http_response(200, "OK", "text/plain"), "is not a list of models"),
        (http_response(200, "[" * 100_000), "is not a list of models"),
        (http_response(200, {"data": [{"id": "x" * 1000}] * 1100}), "is longer than 1 MiB"),
    ],
)
async def test_an_endpoint_without_model_list_is_inconclusive(answer: bytes, words: str) -> None:
    """An endpoint without a list of models is no failure; the model is requested by its name."""
    async with FixedHttpServer({"models": answer, "models/alpha": http_response(200, {"id": "alpha"})}) as endpoint:
        diagnosis = await run_diagnosis(endpoint.base_url)
    assert (None, [UNKNOWN, OK]) == (diagnosis.first_failure, states(diagnosis)[-2:])
    assert words in diagnosis.steps[6].message


async def test_a_redirect_is_not_followed() -> None:
    """The server that a redirect leads to sees no request, and so neither the key nor the headers of the target."""
    async with HostileServer("HTTP/1.1 200 OK", list) as elsewhere:
        head = f"HTTP/1.1 307 Moved\nlocation: {elsewhere.base_url}/models\ncontent-length: 0"
        async with HostileServer(head, list) as endpoint:
            diagnosis = await run_diagnosis(endpoint.base_url)
    assert_first_failure(diagnosis, StepName.MODELS, FaultKind.NOT_A_STREAM, f"to {elsewhere.base_url}/models: {LOGIN}")
    assert [] == elsewhere.heads


@pytest.mark.parametrize(
    ("body", "state", "words"),
    [
        (lambda: gzip.compress(msgspec.json.encode(MODELS)), OK, "2 models are listed"),
        (lambda: gzip_bomb(b'{"data": ['), UNKNOWN, "is longer than 1 MiB"),
    ],
)
async def test_a_requested_compression_is_decoded_with_a_bound(
    body: Callable[[], bytes], state: StepState, words: str
) -> None:
    """A list of models with the compression that the target's headers ask for is decoded, up to 1 MiB."""
    packed = body()
    head = f"HTTP/1.1 200 OK\ncontent-encoding: gzip\ncontent-length: {len(packed)}"
    async with HostileServer(head, lambda: [packed]) as endpoint:
        diagnosis = await run_diagnosis(endpoint.base_url, headers={"Accept-Encoding": "gzip"})
    assert (state, True) == (diagnosis.steps[6].state, words in diagnosis.steps[6].message)


@pytest.mark.parametrize("models", [MODELS, MODELS["data"]])
async def test_a_listed_model_needs_no_second_request(models: Any) -> None:
    """A listed model is found without a second request, with or without the object around the list."""
    async with FixedHttpServer({"models": http_response(200, models, x_request_id="req_7")}) as endpoint:
        diagnosis = await run_diagnosis(endpoint.base_url)
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
async def test_an_unlisted_model_is_requested_by_name(
    models: bytes, answer: bytes, state: StepState, words: str
) -> None:
    """A model that is not in the list, such as an alias, is requested by name; it fails only if it does not exist."""
    async with FixedHttpServer({"models": models, "models/alpah": answer}) as endpoint:
        step = (await run_diagnosis(endpoint.base_url, "alpah")).steps[7]
    assert state is step.state, step
    assert words in str(step)


async def test_requests_have_the_key_and_headers_of_the_target() -> None:
    """Requests have the key and the headers of the target, which may replace ``Authorization``."""
    async with FixedHttpServer({"models": http_response(200, MODELS)}) as endpoint:
        await run_diagnosis(endpoint.base_url, headers={"X-Team": "search"})
        await run_diagnosis(endpoint.base_url, headers={"Authorization": "Basic eHh4"})
    lines = [
        {line for line in head.lower().split("\r\n") if line.startswith(("x-team", "auth"))} for head in endpoint.heads
    ]
    assert [{"x-team: search", f"authorization: bearer {KEY}"}, {"authorization: basic ehh4"}] == lines


async def answer_without_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a response that never ends."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("respond", [never_answer, answer_without_end])
async def test_a_missing_or_endless_response_times_out(respond: Any) -> None:
    """Neither a missing nor an endless response exceeds the time limit."""
    async with TcpServer(respond) as listener:
        started = time.monotonic()
        diagnosis = await run_diagnosis(listener.base_url, seconds=0.5)
        assert time.monotonic() - started < 10
        await wait_until(lambda: listener.connections == 0)
    assert_first_failure(diagnosis, StepName.MODELS, FaultKind.HEADERS_TIMEOUT, "no complete response within 0.5 s")


async def test_at_most_one_mebibyte_is_read() -> None:
    """Not more than 1 MiB of a response is read."""

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 65536)
            await writer.drain()

    async with TcpServer(flood) as listener:
        diagnosis = await run_diagnosis(listener.base_url)
    assert "longer than 1 MiB" in diagnosis.steps[6].message
    assert [UNKNOWN, UNKNOWN] == states(diagnosis)[-2:]


async def test_list_of_models_in_small_chunks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of models in one-byte chunks is read up to a number of chunks, and other tasks run meanwhile."""
    turns = Turns(monkeypatch)
    flood = endless(b"", b"1\r\n \r\n" * 10_000)
    async with HostileServer("HTTP/1.1 200 OK\ntransfer-encoding: chunked", flood) as endpoint:
        watch = asyncio.create_task(turns.watch())
        diagnosis = await run_diagnosis(endpoint.base_url)
        watch.cancel()
    assert [UNKNOWN, UNKNOWN] == states(diagnosis)[-2:]
    assert "is longer than 1 MiB, or in too many chunks" in diagnosis.steps[6].message
    # Two lists are requested, the model by its name, too; chunks that have arrived together are one piece.
    assert 2 * MAX_BODY_PIECES < turns.pieces <= 2 * (MAX_BODY_PIECES + 1) * MAX_JOINED_CHUNKS
    assert turns.most_in_a_turn <= MAX_JOINED_CHUNKS * MAX_SLICE / READ_COST


async def test_an_internal_error_of_a_step_is_inconclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    """An internal error of a step is no failure of the endpoint, and is not raised."""

    async def broken(*_: Any, **__: Any) -> list[Any]:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", broken)
    diagnosis = await run_diagnosis("https://api.example.com/v1")
    assert "internal error: ZeroDivisionError: oh" == diagnosis.steps[2].message
    assert (None, [OK, OK, UNKNOWN, *[SKIPPED] * 5]) == (diagnosis.first_failure, states(diagnosis))


async def test_a_placeholder_key_is_not_redacted() -> None:
    """A placeholder key such as ``ollama`` is not redacted in the host of the same name."""
    diagnosis = await run_diagnosis("http://ollama.invalid/v1", "llama3", api_key="ollama")
    assert_first_failure(diagnosis, StepName.DNS, FaultKind.DNS_FAILED, "ollama.invalid")
    assert "http://ollama.invalid/v1" == diagnosis.base_url
