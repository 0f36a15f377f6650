"""Proxies: which one is on the way, and what becomes of a way through it."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from streamcanary.canary.preflight import diagnose
from streamcanary.canary.runners import CanaryRunners
from streamcanary.canary.spec import CanarySpec
from streamcanary.canary.target import TargetSpec
from streamcanary.cli.config_secrets import ConfigSecrets
from streamcanary.model.clock import SystemClock
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


async def walk(base_url: str, seconds: float = 20.0, **more: Any) -> Diagnosis:
    """Diagnose the way to ``base_url``."""
    return await diagnose(target(base_url, **more), "sim-ok", clock=CLOCK, timeout=seconds)


def verdict(diagnosis: Diagnosis, name: StepName, *words: str) -> None:
    """See that the proxy is to blame, at this step and with these words."""
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
            {"ALL_PROXY": "http://a.example", "NO_PROXY": spared}
            for spared in (
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
def test_the_choice_is_that_of_httpx2(env: Any, variables: dict[str, str]) -> None:
    """The environment means the same here as to the library that would read it itself."""
    env(**variables)
    client = httpx2.AsyncClient()
    for host in ("api.example.com", "example.com", "10.1.2.3", "[2001:db8::7]", "api.example.com:8443", "other.test"):
        for scheme in ("http", "https"):
            address = f"{scheme}://{host}/v1"
            pool: Any = client._transport_for_url(httpx2.URL(address))._pool  # type: ignore[attr-defined]
            theirs = getattr(pool, "_proxy_url", None)
            ours = proxy_for(address)
            expected = theirs and (
                theirs.scheme,
                theirs.host,
                theirs.port or {b"http": 80, b"https": 443}[theirs.scheme],
            )
            assert expected == (ours and (ours.scheme.encode(), ours.host.encode(), ours.port)), address


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.8.9.10"])
def test_this_machine_is_asked_directly(env: Any, host: str) -> None:
    """Whatever the environment says: a proxy could not reach it. What the target says, holds."""
    env(ALL_PROXY="http://p.example:3128")
    assert None is proxy_for(f"http://{host}:8080/v1")
    assert "http://q.example:80" == proxy_for(f"http://{host}:8080/v1", Secret("http://q.example")).url  # type: ignore[union-attr]


@pytest.mark.parametrize("address", ["socks5://p.example", "http://", "http://p.example:99999", "ftp://p.example"])
async def test_a_proxy_that_cannot_be_used(env: Any, address: str) -> None:
    """The variable is named; a client is not opened past it."""
    env(HTTPS_PROXY=address)
    diagnosis = await walk("https://provider.invalid/v1")
    verdict(diagnosis, StepName.ADDRESS, "HTTPS_PROXY must be an http:// or https:// address")
    with pytest.raises(InvalidProxyUrl, match="HTTPS_PROXY must be"):
        CanaryRunners({"t": target("https://provider.invalid/v1")}, {"c": canary()}, clock=CLOCK)


def canary(**more: Any) -> CanarySpec:
    """Return a canary of the target ``t``."""
    return CanarySpec.model_validate(
        {"target": "t", "model": "sim-ok", "every": "30s", "retry": {"max_attempts": 1}, **more}
    )


async def ask(spec: TargetSpec) -> OutcomeKind:
    """Run a canary once."""
    async with CanaryRunners({"t": spec}, {"c": canary()}, clock=CLOCK) as fleet:
        return (await fleet.by_name["c"](CLOCK.time())).kind


async def test_a_way_through_a_proxy(env: Any) -> None:
    """Only the proxy knows the endpoint's name. The certificate is still the endpoint's; a canary goes the same way."""
    async with (
        Simulator(timings=FAST_TIMINGS, ssl=server_tls_context(WRONG_HOST)) as simulator,
        ConnectProxy(simulator.port) as proxy,
    ):
        env(HTTPS_PROXY=proxy.url)
        spec = target("https://provider.invalid/v1", ca_file=WRONG_HOST)
        diagnosis = await diagnose(spec, "sim-ok", clock=CLOCK, timeout=20.0)
        assert OutcomeKind.OK is await ask(spec)
    assert (None, {StepState.OK}) == (diagnosis.first_failure, {step.state for step in diagnosis.steps})
    assert proxy.url == diagnosis.proxy
    assert f"through {proxy.url} (HTTPS_PROXY)" in diagnosis.steps[1].message
    assert "proxy host 127.0.0.1 is an IP address" == diagnosis.steps[2].message
    assert f"{proxy.url} opens a tunnel to provider.invalid:443" == diagnosis.steps[4].message
    assert "provider.invalid (Elsewhere)" == (diagnosis.certificate and diagnosis.certificate.subject)
    assert {"CONNECT provider.invalid:443 HTTP/1.1"} == {head.split("\r\n")[0] for head in proxy.heads}


async def test_a_certificate_is_refused_behind_a_proxy_too() -> None:
    """Its details are fetched the same way."""
    async with (
        Simulator(timings=FAST_TIMINGS, ssl=server_tls_context(LOOPBACK)) as simulator,
        ConnectProxy(simulator.port) as proxy,
    ):
        diagnosis = await walk("https://provider.invalid/v1", ca_file=LOOPBACK, proxy=proxy.url)
    assert "the certificate is for 127.0.0.1, ::1, localhost, not for provider.invalid" == diagnosis.steps[5].message


async def test_a_proxy_with_a_password_and_tls_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password goes to the proxy, and is shown nowhere; TLS runs inside of TLS."""
    monkeypatch.setenv("SSL_CERT_FILE", str(LOOPBACK))
    async with (
        Simulator(timings=FAST_TIMINGS, ssl=server_tls_context(WRONG_HOST)) as simulator,
        ConnectProxy(simulator.port, ssl=server_tls_context(LOOPBACK)) as proxy,
    ):
        address = proxy.url.replace("//", "//us%40er:5up3rs3cr3t@")
        spec = target("https://provider.invalid/v1", ca_file=WRONG_HOST, proxy=address)
        diagnosis = await diagnose(spec, "sim-ok", clock=CLOCK, timeout=20.0)
        assert OutcomeKind.OK is await ask(spec)
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
async def test_a_proxy_that_refuses(refusal: bytes, words: str) -> None:
    """It is told from an endpoint that does."""
    async with ConnectProxy(refusal=refusal) as proxy:
        diagnosis = await walk("https://provider.invalid/v1", proxy=proxy.url)
    verdict(diagnosis, StepName.PROXY, words)


async def test_a_proxy_that_keeps_silent() -> None:
    """The step ends in time."""

    async def silence(reader: Any, _: Any) -> None:
        await reader.read()

    async with TcpServer(silence) as listener:
        address = listener.base_url.removesuffix("/v1")
        diagnosis = await walk("https://provider.invalid/v1", proxy=address, seconds=0.2)
    verdict(diagnosis, StepName.PROXY, f"{address} did not answer within 0.2 s")


async def test_plain_http_through_a_proxy() -> None:
    """The request is handed over whole; a proxy that wants a password is still the proxy."""
    async with FixedHttpServer({"models": http_response(200, {"data": [{"id": "sim-ok"}]})}) as proxy:
        address = proxy.base_url.removesuffix("/v1")
        assert None is (await walk("http://provider.invalid/v1", proxy=address)).first_failure
        assert proxy.heads[0].startswith("GET http://provider.invalid/v1/models HTTP/1.1\r\n")
        proxy.answers["models"] = http_response(407, "no")
        diagnosis = await walk("http://provider.invalid/v1", proxy=address)
    verdict(diagnosis, StepName.MODELS, "the proxy requires a user name and password, HTTP 407")


async def test_a_canary_trusts_and_shows_what_its_target_says() -> None:
    """``ca_file`` and ``client_cert`` hold for runs as for the preflight; without them the run fails."""
    async with Simulator(timings=FAST_TIMINGS, ssl=server_tls_context(LOOPBACK, client_ca=LOOPBACK)) as simulator:
        assert OutcomeKind.OK is await ask(target(simulator.base_url, ca_file=LOOPBACK, client_cert=LOOPBACK))
        assert OutcomeKind.FAILED is await ask(target(simulator.base_url, ca_file=LOOPBACK))
        assert OutcomeKind.FAILED is await ask(target(simulator.base_url))


def test_a_client_is_not_opened_without_its_files(tmp_path: Path) -> None:
    """What is missing is told when the daemon starts, and not when the first run fails."""
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
def test_a_target_that_cannot_be_meant(fields: dict[str, Any], words: str) -> None:
    """Told when the configuration is read, without the secret."""
    with pytest.raises(ValidationError) as caught:
        target("https://provider.invalid/v1", **fields)
    told = caught.value.errors(include_input=False, include_context=False)[0]["msg"]
    assert words in told
    assert "5up3rs3cr3t" not in told


def test_the_certificates_of_a_target_are_no_secrets() -> None:
    """What is scrubbed from every log line are the key and the proxy's address, and not the lines of ``ca_file``."""
    spec = target("https://provider.invalid/v1", ca_file=LOOPBACK, proxy="http://user:5up3rs3cr3t@p.example")
    assert {"sk-x", "http://user:5up3rs3cr3t@p.example"} == set(ConfigSecrets(spec)())
