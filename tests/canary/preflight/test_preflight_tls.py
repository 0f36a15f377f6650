"""The TLS step: accepted and rejected certificates, and failed handshakes."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamcanary.canary.preflight import diagnose
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.model.clock import SystemClock
from streamcanary.model.diagnosis import Certificate, Diagnosis, StepName, StepState
from streamcanary.model.faults import FaultKind
from streamcanary.simulator import Simulator
from support.clock import ManualClock
from support.servers import certificates
from support.servers.certificates import (
    AUTHORITY,
    EXPIRED,
    LOOPBACK,
    NOT_YET_VALID,
    SIGNED_BY_AUTHORITY,
    WRONG_HOST,
    server_tls_context,
)
from support.servers.simulator import FAST_TIMINGS, server_tls, wait_until
from support.servers.tcp import TcpServer

END_OF_2119 = 4_733_510_400.0  # 2120-01-01, seconds since the epoch
EXPIRED_ON = 1_580_515_200.0  # 2020-02-01


async def run_diagnosis(
    base_url: str, model: str = "sim-ok", seconds: float = 20.0, clock: Any = None, **more: Any
) -> Diagnosis:
    """Diagnose the endpoint at ``base_url``."""
    target = TargetSpec.model_validate({"base_url": base_url, "api_key": "sk-x", **more})
    return await diagnose(target, model, clock=clock or SystemClock(), timeout=seconds)


def assert_tls_failure(diagnosis: Diagnosis, *words: str, name: StepName = StepName.TLS) -> None:
    """Assert that TLS fails at this step, with ``words``."""
    step = diagnosis.first_failure
    assert step is not None, diagnosis
    assert (name, FaultKind.TLS_FAILED) == (step.name, step.kind), step
    assert [] == [word for word in words if word not in f"{step.message} > {step.remedy}"], step
    assert "" != step.remedy


async def test_the_certificate_is_reported() -> None:
    """A successful handshake reports subject, issuer, names and expiry of the certificate."""
    clock = ManualClock(wall=END_OF_2119 - 100 * 86400)
    async with Simulator(timings=FAST_TIMINGS, ssl=server_tls_context(SIGNED_BY_AUTHORITY)) as simulator:
        diagnosis = await run_diagnosis(simulator.base_url, ca_file=AUTHORITY, clock=clock)
    assert None is diagnosis.first_failure
    assert [StepState.OK] * 3 == [step.state for step in diagnosis.steps[5:]]
    assert (
        Certificate(
            subject="streamcanary test, issued",
            issuer="streamcanary test authority (Example)",
            expires=END_OF_2119,
            days_left=100.0,
            names=("127.0.0.1", "localhost"),
        )
        == diagnosis.certificate
    )
    assert (
        "TLSv1.3, certificate of streamcanary test, issued, issued by streamcanary test authority (Example), "
        "valid until 2120-01-01 (100 days left)"
    ) == diagnosis.steps[5].message
    assert "" == diagnosis.steps[5].remedy


async def test_a_certificate_that_expires_soon_is_valid_with_a_remedy() -> None:
    """A certificate that expires within 14 days is valid, and the step has a remedy."""
    clock = ManualClock(wall=END_OF_2119 - 9 * 86400)
    async with Simulator(timings=FAST_TIMINGS, ssl=server_tls()) as simulator:
        step = (await run_diagnosis(simulator.base_url, ca_file=LOOPBACK, clock=clock)).steps[5]
    assert (StepState.OK, "renew the certificate") == (step.state, step.remedy)
    assert "(9 days left)" in step.message


@pytest.mark.parametrize(
    ("shown", "trusted", "words"),
    [
        (LOOPBACK, None, "self-signed (subject streamcanary test, issuer streamcanary test) > if you trust it"),
        (
            SIGNED_BY_AUTHORITY,
            None,
            "an untrusted authority (subject streamcanary test, issued, issuer streamcanary test authority (Example))",
        ),
        (SIGNED_BY_AUTHORITY, LOOPBACK, "an untrusted authority"),
        (EXPIRED, EXPIRED, "has expired on 2020-02-01, 100 days ago (subject streamcanary test, expired"),
        (NOT_YET_VALID, NOT_YET_VALID, "is not valid yet (subject streamcanary test, future"),
        (
            WRONG_HOST,
            WRONG_HOST,
            "the certificate is for provider.invalid, not for 127.0.0.1 > use a name of the certificate in base_url",
        ),
    ],
)
async def test_a_rejected_certificate_is_explained(shown: Path, trusted: Path | None, words: str) -> None:
    """An expired, untrusted or mismatching certificate fails with its reason, subject and issuer."""
    clock = ManualClock(wall=EXPIRED_ON + 100 * 86400)
    more = {"ca_file": trusted} if trusted else {}
    async with Simulator(timings=FAST_TIMINGS, ssl=server_tls_context(shown)) as simulator:
        diagnosis = await run_diagnosis(simulator.base_url, clock=clock, **more)
        assert () == simulator.requests
    assert_tls_failure(diagnosis, words)
    assert diagnosis.certificate is not None
    if shown is EXPIRED:
        assert (-100.0, EXPIRED_ON) == (diagnosis.certificate.days_left, diagnosis.certificate.expires)


async def test_a_rejected_certificate_that_cannot_be_fetched_has_no_details() -> None:
    """If the server accepts no second connection, the failure has no details of the certificate."""
    async with Simulator(timings=FAST_TIMINGS, ssl=server_tls_context(EXPIRED)) as simulator:
        seen = False

        async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal seen
            if seen:
                return
            seen = True
            _, inner = pair = await asyncio.open_connection("127.0.0.1", simulator.port)
            try:
                inner.write(await reader.read(65536))
                writer.write(await pair[0].read(65536))
                await reader.read()
            finally:
                inner.transport.abort()

        async with TcpServer(once) as listener:
            diagnosis = await run_diagnosis(listener.base_url.replace("http:", "https:"), ca_file=EXPIRED)
    assert_tls_failure(diagnosis, "a certificate has expired > renew it")
    assert None is diagnosis.certificate


async def test_ssl_cert_file_is_used_unless_ca_file_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """``SSL_CERT_FILE`` also applies to loopback addresses; ``ca_file`` overrides it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(LOOPBACK))
    async with Simulator(timings=FAST_TIMINGS, ssl=server_tls()) as simulator:
        assert None is (await run_diagnosis(simulator.base_url)).first_failure
        assert_tls_failure(await run_diagnosis(simulator.base_url, ca_file=AUTHORITY), "is self-signed")


@pytest.mark.parametrize("content", [None, "no certificate"])
@pytest.mark.parametrize("field", ["ca_file", "client_cert", "SSL_CERT_FILE"])
async def test_an_unusable_certificate_file_fails_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, content: str | None
) -> None:
    """A missing or non-PEM file fails with the setting and the path."""
    file = tmp_path / "file.pem"
    if content is not None:
        file.write_text(content)
    if field == "SSL_CERT_FILE":
        monkeypatch.setenv(field, str(file))
    more = {} if field == "SSL_CERT_FILE" else {field: file}
    async with Simulator(timings=FAST_TIMINGS, ssl=server_tls()) as simulator:
        assert_tls_failure(
            await run_diagnosis(simulator.base_url, **more), field, str(file), "PEM" if content else "No such file"
        )


@pytest.fixture
def strict_server() -> Iterator[str]:
    """Return the base URL of a server that requires a certificate of AUTHORITY, and closes after the handshake.

    It runs in a thread on blocking sockets: asyncio drops the alert with the reason for the rejection.
    """
    context = server_tls_context(LOOPBACK, client_ca=AUTHORITY)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # the test is over
                    return
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(5)
                    context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


async def test_a_required_client_certificate_is_reported(strict_server: str) -> None:
    """A server that requires a client certificate fails with ``client_cert`` as remedy, also with TLS 1.3."""
    diagnosis = await run_diagnosis(strict_server, ca_file=LOOPBACK)
    assert_tls_failure(diagnosis, "the endpoint requires a client certificate", "set client_cert", name=StepName.MODELS)
    diagnosis = await run_diagnosis(strict_server, ca_file=LOOPBACK, client_cert=LOOPBACK)
    assert_tls_failure(diagnosis, "the endpoint rejects the client certificate", "check which", name=StepName.MODELS)
    diagnosis = await run_diagnosis(strict_server, ca_file=LOOPBACK, client_cert=SIGNED_BY_AUTHORITY)
    assert FaultKind.CONNECTION_LOST is (
        diagnosis.first_failure and diagnosis.first_failure.kind
    )  # it closes without an alert


async def test_the_client_certificate_is_sent() -> None:
    """The client certificate works with its key in the same or another file; a wrong key fails."""
    async with Simulator(timings=FAST_TIMINGS, ssl=server_tls_context(LOOPBACK, client_ca=AUTHORITY)) as simulator:
        assert (
            None
            is (
                await run_diagnosis(simulator.base_url, ca_file=LOOPBACK, client_cert=SIGNED_BY_AUTHORITY)
            ).first_failure
        )
        both = {"client_cert": SIGNED_BY_AUTHORITY, "client_key": SIGNED_BY_AUTHORITY}
        assert None is (await run_diagnosis(simulator.base_url, ca_file=LOOPBACK, **both)).first_failure
        both["client_key"] = LOOPBACK
        assert_tls_failure(
            await run_diagnosis(simulator.base_url, ca_file=LOOPBACK, **both),
            f"client_key {LOOPBACK} does not belong to",
        )


async def test_a_port_without_tls_suggests_http() -> None:
    """A port without TLS fails, and the remedy is ``http://``."""

    async def answer_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
        await reader.read()

    async with TcpServer(answer_http) as listener:
        diagnosis = await run_diagnosis(listener.base_url.replace("http:", "https:"))
    assert_tls_failure(diagnosis, "does not use TLS on this port > check the port, or use http://")


async def test_no_common_tls_version_is_reported() -> None:
    """A server without a common TLS version is not reported as a bad certificate."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"\x15\x03\x03\x00\x02\x02\x28")  # the alert handshake_failure (RFC 8446, 6.2)
        await reader.read()

    async with TcpServer(refuse) as listener:
        diagnosis = await run_diagnosis(listener.base_url.replace("http:", "https:"))
    assert_tls_failure(diagnosis, "no TLS version or cipher in common")


async def test_a_connection_closed_in_the_handshake_is_reported() -> None:
    """A connection closed in the handshake is not reported as a bad certificate."""

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    async with TcpServer(close) as listener:
        diagnosis = await run_diagnosis(listener.base_url.replace("http:", "https:"))
    assert_tls_failure(diagnosis, "closed during the handshake")


async def test_a_handshake_without_answer_times_out() -> None:
    """The step ends at its time limit and closes its connection."""

    async def never_answer(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with TcpServer(never_answer) as listener:
        diagnosis = await run_diagnosis(listener.base_url.replace("http:", "https:"), seconds=0.3)
        assert_tls_failure(diagnosis, "no answer to the handshake within 0.3 s")
        # The server may not have read the client hello: it sees the closed connection.
        await wait_until(lambda: listener.connections == 0)


def test_every_certificate_file_is_used() -> None:
    """Every certificate file has a name in ``support.servers.certificates``."""
    named = {path for path in vars(certificates).values() if isinstance(path, Path)}
    assert set(EXPIRED.parent.glob("*")) <= named
