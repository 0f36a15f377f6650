"""The connection of the OTLP exporter over HTTP: certificates, proxies, what a server may send, and closing."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from streamcanary.model.clock import SystemClock
from streamcanary.telemetry.otlp.export_settings import ExportSettings, TelemetryMisconfigured
from streamcanary.telemetry.otlp.http import OtlpHttpResult, OtlpHttpTransport
from streamcanary.telemetry.otlp.sdk_log_handler import SdkLogHandler
from support.servers.certificates import AUTHORITY, LOOPBACK, SIGNED_BY_AUTHORITY, server_tls_context

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Server:
    """Answers each request with ``answer``; ``heads`` are those of the requests, ``connections`` counts."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.port = 0
        self.heads: list[str] = []
        self.connections = 0
        self.received = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                await reader.readexactly(4)
                self.received.set()
                await self.may_answer.wait()
                writer.write(self.answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def server(answer: bytes = OK, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    state = Server(answer)
    async with await asyncio.start_server(state.serve, "127.0.0.1", 0, ssl=tls) as listener:
        state.port = listener.sockets[0].getsockname()[1]
        yield state


def open_transport(endpoint: str, timeout: float = 10.0) -> OtlpHttpTransport:
    settings = ExportSettings(
        protocol="http/protobuf", traces_endpoint=endpoint, metrics_endpoint=None, timeout=timeout
    )
    return OtlpHttpTransport(settings, endpoint, "traces", SdkLogHandler(SystemClock()))


async def post(transport: OtlpHttpTransport, endpoint: str) -> OtlpHttpResult:
    request = asyncio.to_thread(transport.request, "POST", endpoint, data=b"data", timeout=10)
    return await asyncio.wait_for(request, 20)


async def test_a_connection_is_reused():
    """The exports of one exporter use one connection."""
    async with server() as collector:
        endpoint = f"http://127.0.0.1:{collector.port}/v1/traces"
        transport = open_transport(endpoint)
        assert [200, 200] == [(await post(transport, endpoint)).status_code for _ in range(2)]
        assert 1 == collector.connections
        transport.close()


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE"])
async def test_the_authority_of_the_environment_is_trusted(monkeypatch, variable):
    """An endpoint with a private authority is trusted by the standard variable, or that of the signal."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(LOOPBACK))  # another one
    monkeypatch.setenv(variable, str(AUTHORITY))
    async with server(tls=server_tls_context(SIGNED_BY_AUTHORITY)) as collector:
        endpoint = f"https://127.0.0.1:{collector.port}/v1/traces"
        transport = open_transport(endpoint)
        assert 200 == (await post(transport, endpoint)).status_code
        transport.close()


async def test_an_endpoint_of_an_unknown_authority_is_not_trusted():
    """Without the variable, the authorities are those of the system; the failure counts as one of the connection."""
    async with server(tls=server_tls_context(SIGNED_BY_AUTHORITY)) as collector:
        endpoint = f"https://127.0.0.1:{collector.port}/v1/traces"
        transport = open_transport(endpoint)
        result = await post(transport, endpoint)
        assert isinstance(result.error, httpx2.ConnectError)
        assert transport.is_connection_error(result.error)
        transport.close()


async def test_a_client_certificate_is_sent(monkeypatch):
    """A collector that requires a client certificate receives it."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(LOOPBACK))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", str(SIGNED_BY_AUTHORITY))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", str(SIGNED_BY_AUTHORITY))
    async with server(tls=server_tls_context(LOOPBACK, client_ca=AUTHORITY)) as collector:
        endpoint = f"https://127.0.0.1:{collector.port}/v1/traces"
        transport = open_transport(endpoint)
        assert 200 == (await post(transport, endpoint)).status_code
        transport.close()


async def test_a_changed_certificate_file_is_read_again(monkeypatch, tmp_path):
    """After the rotation of an authority, the next export trusts the new one."""
    file = tmp_path / "ca.pem"
    file.write_bytes(LOOPBACK.read_bytes())
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(file))
    async with server(tls=server_tls_context(SIGNED_BY_AUTHORITY)) as collector:
        endpoint = f"https://127.0.0.1:{collector.port}/v1/traces"
        transport = open_transport(endpoint)
        assert (await post(transport, endpoint)).error is not None
        file.unlink()
        file.write_bytes(AUTHORITY.read_bytes())
        assert 200 == (await post(transport, endpoint)).status_code
        transport.close()


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_an_unusable_certificate_file_is_rejected_at_the_start(monkeypatch, tmp_path: Path, content: bytes | None):
    """A file that is missing, or is not PEM, is an error with its path."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(file))
    with pytest.raises(TelemetryMisconfigured, match=r"ca\.pem"):
        open_transport("https://127.0.0.1:4318/v1/traces")


async def test_a_proxy_of_the_environment_is_used(monkeypatch):
    """An endpoint on another machine is reached through the proxy."""
    async with server() as proxy:
        for variable in ("NO_PROXY", "no_proxy", "HTTP_PROXY", "http_proxy"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        endpoint = "http://collector.invalid:4318/v1/traces"
        transport = open_transport(endpoint)
        assert 200 == (await post(transport, endpoint)).status_code
        assert proxy.heads[0].startswith("POST http://collector.invalid:4318/v1/traces ")
        transport.close()


def test_an_invalid_proxy_is_rejected_without_its_password(monkeypatch):
    """The error names the variable, and shows neither URL nor password."""
    for variable in ("NO_PROXY", "no_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("http_proxy", "socks9://me:hunter2@proxy.example:1")
    with pytest.raises(TelemetryMisconfigured, match="HTTP_PROXY") as caught:
        open_transport("http://collector.invalid:4318/v1/traces")
    assert "hunter2" not in str(caught.value)


async def test_a_large_response_is_read_in_part():
    """A server cannot fill the memory: after 64 KiB of the response, the connection is closed."""
    endless = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n" + b"\0" * 2**20
    async with server(endless) as collector:
        endpoint = f"http://127.0.0.1:{collector.port}/v1/traces"
        transport = open_transport(endpoint)
        result = await post(transport, endpoint)
        assert 200 == result.status_code
        assert len(result.content()) < 2**18
        transport.close()


async def test_many_informational_responses_are_refused():
    """A server that answers with 1xx responses and nothing else ends the export."""
    async with server(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000) as collector:
        endpoint = f"http://127.0.0.1:{collector.port}/v1/traces"
        transport = open_transport(endpoint)
        assert isinstance((await post(transport, endpoint)).error, httpx2.RemoteProtocolError)
        transport.close()


async def test_closing_does_not_disturb_the_request_of_another_thread():
    """A reload closes the exporter while a batch is sent: the batch is sent, and its connection closed then."""
    async with server() as collector:
        collector.may_answer.clear()
        endpoint = f"http://127.0.0.1:{collector.port}/v1/traces"
        transport = open_transport(endpoint)
        request = asyncio.create_task(post(transport, endpoint))
        await asyncio.wait_for(collector.received.wait(), 10)
        transport.close()
        collector.may_answer.set()
        assert 200 == (await request).status_code
        assert not transport._pool._pool.connections
