"""The choice of proxies, and diagnosis and runs through a proxy."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from streamcanary.canary.preflight import diagnose
from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.targets.target import TargetSpec
from streamcanary.model.clock import SystemClock
from streamcanary.model.config_types.config_secrets import ConfigSecrets
from streamcanary.model.config_types.secret import Secret
from streamcanary.model.diagnosis import Diagnosis, StepName, StepState
from streamcanary.model.faults import FaultKind
from streamcanary.model.outcome import OutcomeKind
from streamcanary.simulator import Simulator
from streamcanary.transport.proxy import InvalidProxyUrl, proxy_for
from streamcanary.transport.tls import TlsFileError
from support.servers.certificates import LOOPBACK, WRONG_HOST, server_tls_context
from support.servers.simulator import FAST_TIMINGS
from support.servers.tcp import ConnectProxy, FixedHttpServer, TcpServer, http_response

CLOCK = SystemClock()


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(name="env")
def _env(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


def target(base_url: str, **more: Any) -> TargetSpec:
    """Return a target at ``base_url``."""
    return TargetSpec.model_validate({"base_url": base_url, "api_key": "sk-x", **more})


async def run_diagnosis(base_url: str, seconds: float = 20.0, **more: Any) -> Diagnosis:
    """Diagnose the endpoint at ``base_url``."""
    return await diagnose(target(base_url, **more), "sim-ok", clock=CLOCK, timeout=seconds)


def assert_proxy_failure(diagnosis: Diagnosis, name: StepName, *words: str) -> None:
    """Assert that the proxy fails at this step, with ``words``."""
    step = diagnosis.first_failure
    assert step is not None, diagnosis
    assert (name, FaultKind.PROXY_FAILED) == (step.name, step.kind), step
    assert [] == [word for word in words if word not in f"{step.message} > {step.remedy}"], step


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"HTTPS_PROXY": "http://p.example:3128"},
        {"https_proxy": "http://low.example", "HTTPS_PROXY": "http://up.example"},
        {"HTTP_PROXY": "http://p.example:3128"},
        {"ALL_PROXY": "p.example:3128"},
        {"ALL_PROXY": "http://a.example", "HTTPS_PROXY": "https://p.example"},
        {"HTTPS_PROXY": "http://user:secret@[2001:db8::1]:3128"},
        {"HTTPS_PROXY": "", "ALL_PROXY": "http://a.example"},
        *(
            {"ALL_PROXY": "http://a.example", "NO_PROXY": no_proxy}
            for no_proxy in (
                "*",
                "api.example.com",
                "example.com, 10.0.0.0/8",
                ".example.com",
                "*.example.com",
                "API.example.com",
                "xexample.com,ple.com",
                "https://api.example.com",
                "http://api.example.com",
                "all://example.com",
                "10.1.2.3,2001:db8::/32",
                "[2001:db8::7]",
                "example.com:8443",
                "10.0.0.0/33,/,:,://",
                "localhost",
            )
        ),
    ],
)
def test_the_proxy_of_the_environment_is_that_of_httpx2(env: Any, variables: dict[str, str]) -> None:
    """The proxy for a URL is the one that httpx2 itself chooses from the environment."""
    env(**variables)
    client = httpx2.AsyncClient()
    for host in ("api.example.com", "example.com", "10.1.2.3", "[2001:db8::7]", "api.example.com:8443", "other.test"):
        for scheme in ("http", "https"):
            address = f"{scheme}://{host}/v1"
            pool: Any = client._transport_for_url(httpx2.URL(address))._pool  # type: ignore[attr-defined]
            httpx_proxy = getattr(pool, "_proxy_url", None)
            proxy = proxy_for(address)
            expected = httpx_proxy and (
                httpx_proxy.scheme,
                httpx_proxy.host,
                httpx_proxy.port or {b"http": 80, b"https": 443}[httpx_proxy.scheme],
            )
            assert expected == (proxy and (proxy.scheme.encode(), proxy.host.encode(), proxy.port)), address


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.8.9.10"])
def test_loopback_addresses_use_no_proxy_of_the_environment(env: Any, host: str) -> None:
    """Loopback addresses use no proxy of the environment, but that of the configuration."""
    env(ALL_PROXY="http://p.example:3128")
    assert None is proxy_for(f"http://{host}:8080/v1")
    assert "http://q.example:80" == proxy_for(f"http://{host}:8080/v1", Secret("http://q.example")).url  # type: ignore[union-attr]


@pytest.mark.parametrize("address", ["socks5://p.example", "http://", "http://p.example:99999", "ftp://p.example"])
async def test_an_invalid_proxy_url_fails(env: Any, address: str) -> None:
    """An invalid proxy URL fails with the name of its variable, and no client is created."""
    env(HTTPS_PROXY=address)
    diagnosis = await run_diagnosis("https://provider.invalid/v1")
    assert_proxy_failure(diagnosis, StepName.ADDRESS, "HTTPS_PROXY must be an http:// or https:// address")
    with pytest.raises(InvalidProxyUrl, match="HTTPS_PROXY must be"):
        CanaryRunners({"t": target("https://provider.invalid/v1")}, {"c": canary()}, clock=CLOCK)


def canary(**more: Any) -> CanarySpec:
    """Return a canary of the target ``t``."""
    return CanarySpec.model_validate(
        {"target": "t", "model": "sim-ok", "every": "30s", "retry": {"max_attempts": 1}, **more}
    )


async def run_canary(spec: TargetSpec) -> OutcomeKind:
    """Run a canary once, and return the kind of its outcome."""
    async with CanaryRunners({"t": spec}, {"c": canary()}, clock=CLOCK) as runners:
        return (await runners.by_name["c"](CLOCK.time())).kind


async def test_a_diagnosis_and_a_run_use_the_proxy(env: Any) -> None:
    """Diagnosis and runs connect through the proxy, which resolves the endpoint; the certificate is the endpoint's."""
    async with (
        Simulator(timings=FAST_TIMINGS, ssl=server_tls_context(WRONG_HOST)) as simulator,
        ConnectProxy(simulator.port) as proxy,
    ):
        env(HTTPS_PROXY=proxy.url)
        spec = target("https://provider.invalid/v1", ca_file=WRONG_HOST)
        diagnosis = await diagnose(spec, "sim-ok", clock=CLOCK, timeout=20.0)
        assert OutcomeKind.OK is await run_canary(spec)
    assert (None, {StepState.OK}) == (diagnosis.first_failure, {step.state for step in diagnosis.steps})
    assert proxy.url == diagnosis.proxy
    assert f"through {proxy.url} (HTTPS_PROXY)" in diagnosis.steps[1].message
    assert "proxy host 127.0.0.1 is an IP address" == diagnosis.steps[2].message
    assert f"{proxy.url} opens a tunnel to provider.invalid:443" == diagnosis.steps[4].message
    assert "provider.invalid (Elsewhere)" == (diagnosis.certificate and diagnosis.certificate.subject)
    assert {"CONNECT provider.invalid:443 HTTP/1.1"} == {head.split("\r\n")[0] for head in proxy.heads}


async def test_a_certificate_is_rejected_behind_a_proxy() -> None:
    """A rejected certificate is fetched through the proxy for its details."""
    async with (
        Simulator(timings=FAST_TIMINGS, ssl=server_tls_context(LOOPBACK)) as simulator,
        ConnectProxy(simulator.port) as proxy,
    ):
        diagnosis = await run_diagnosis("https://provider.invalid/v1", ca_file=LOOPBACK, proxy=proxy.url)
    assert "the certificate is for 127.0.0.1, ::1, localhost, not for provider.invalid" == diagnosis.steps[5].message


async def test_a_proxy_with_password_and_tls_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password is sent to the proxy and not shown; TLS with the endpoint runs inside TLS with the proxy."""
    monkeypatch.setenv("SSL_CERT_FILE", str(LOOPBACK))
    async with (
        Simulator(timings=FAST_TIMINGS, ssl=server_tls_context(WRONG_HOST)) as simulator,
        ConnectProxy(simulator.port, ssl=server_tls_context(LOOPBACK)) as proxy,
    ):
        address = proxy.url.replace("//", "//us%40er:5up3rs3cr3t@")
        spec = target("https://provider.invalid/v1", ca_file=WRONG_HOST, proxy=address)
        diagnosis = await diagnose(spec, "sim-ok", clock=CLOCK, timeout=20.0)
        assert OutcomeKind.OK is await run_canary(spec)
    assert (None, proxy.url) == (diagnosis.first_failure, diagnosis.proxy)
    assert {"proxy-authorization: basic dxnazxi6nxvwm3jzm2nym3q="} == {
        line for head in proxy.heads for line in head.lower().split("\r\n") if line.startswith("proxy-")
    }
    assert [] == [text for text in (repr(diagnosis), repr(spec), spec.model_dump_json()) if "5up3rs3cr3t" in text]


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (http_response(407, "no"), "requires a user name and password (HTTP 407) > add them to the proxy's URL"),
        (http_response(403, "no"), "rejects the tunnel (HTTP 403) > allow the endpoint's host in the proxy"),
        (http_response(502, "no"), "cannot reach the endpoint (HTTP 502)"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "the server is not an HTTP proxy"),
        (b"HTTP/1.1 200 OK\r\n", "the proxy closed the connection"),
        (b"x" * 200_000, "the server is not an HTTP proxy"),
    ],
)
async def test_a_proxy_that_rejects_the_tunnel_fails(refusal: bytes, words: str) -> None:
    """A rejection by the proxy is reported as such, and not as one of the endpoint."""
    async with ConnectProxy(refusal=refusal) as proxy:
        diagnosis = await run_diagnosis("https://provider.invalid/v1", proxy=proxy.url)
    assert_proxy_failure(diagnosis, StepName.PROXY, words)


async def test_a_proxy_without_answer_times_out() -> None:
    """A proxy that does not answer fails at the time limit."""

    async def never_answer(reader: Any, _: Any) -> None:
        await reader.read()

    async with TcpServer(never_answer) as listener:
        address = listener.base_url.removesuffix("/v1")
        diagnosis = await run_diagnosis("https://provider.invalid/v1", proxy=address, seconds=0.2)
    assert_proxy_failure(diagnosis, StepName.PROXY, f"{address} did not answer within 0.2 s")


async def test_http_requests_use_the_proxy_without_a_tunnel() -> None:
    """An ``http://`` request is sent to the proxy without a tunnel; its status 407 is one of the proxy."""
    async with FixedHttpServer({"models": http_response(200, {"data": [{"id": "sim-ok"}]})}) as proxy:
        address = proxy.base_url.removesuffix("/v1")
        assert None is (await run_diagnosis("http://provider.invalid/v1", proxy=address)).first_failure
        assert proxy.heads[0].startswith("GET http://provider.invalid/v1/models HTTP/1.1\r\n")
        proxy.answers["models"] = http_response(407, "no")
        diagnosis = await run_diagnosis("http://provider.invalid/v1", proxy=address)
    assert_proxy_failure(diagnosis, StepName.MODELS, "the proxy requires a user name and password, HTTP 407")


async def test_runs_use_the_certificate_files_of_the_target() -> None:
    """Runs use ``ca_file`` and ``client_cert`` of the target; without them they fail."""
    async with Simulator(timings=FAST_TIMINGS, ssl=server_tls_context(LOOPBACK, client_ca=LOOPBACK)) as simulator:
        assert OutcomeKind.OK is await run_canary(target(simulator.base_url, ca_file=LOOPBACK, client_cert=LOOPBACK))
        assert OutcomeKind.FAILED is await run_canary(target(simulator.base_url, ca_file=LOOPBACK))
        assert OutcomeKind.FAILED is await run_canary(target(simulator.base_url))


def test_a_missing_ca_file_is_an_error_at_start(tmp_path: Path) -> None:
    """A missing ``ca_file`` is an error when the clients are created, not in the first run."""
    with pytest.raises(TlsFileError, match=r"ca_file .*gone.pem cannot be read: No such file"):
        CanaryRunners(
            {"t": target("https://provider.invalid/v1", ca_file=tmp_path / "gone.pem")}, {"c": canary()}, clock=CLOCK
        )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"client_key": "key.pem"}, "client_key needs client_cert"),
        ({"proxy": "socks5://p.example"}, "must be an http:// or https:// address, such as http://proxy.example:3128"),
        ({"proxy": "http://user:5up3rs3cr3t@p.example:99999"}, "must be an http:// or https:// address"),
        ({"proxy": ""}, "not empty"),
    ],
)
def test_invalid_connection_settings_are_rejected(fields: dict[str, Any], words: str) -> None:
    """Invalid connection settings are config errors without secrets."""
    with pytest.raises(ValidationError) as caught:
        target("https://provider.invalid/v1", **fields)
    message = caught.value.errors(include_input=False, include_context=False)[0]["msg"]
    assert words in message
    assert "5up3rs3cr3t" not in message


def test_certificates_are_not_redacted() -> None:
    """The key and the proxy URL are redacted in logs, the lines of ``ca_file`` are not."""
    spec = target("https://provider.invalid/v1", ca_file=LOOPBACK, proxy="http://user:5up3rs3cr3t@p.example")
    assert {"sk-x", "http://user:5up3rs3cr3t@p.example"} == set(ConfigSecrets(spec)())
