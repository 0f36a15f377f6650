"""Access tokens: cached, renewed before they expire, bounded in time; and the requests of ``azure-identity``."""

import asyncio
import threading
from pathlib import Path

import pytest

from streamcanary.canary.run_redaction import TargetSecrets
from streamcanary.canary.targets.azure_identity import (
    AccessToken,
    AccessTokens,
    TokenRefused,
    TokenUnavailable,
    credential_fetcher,
    explain_identity_error,
)
from streamcanary.canary.targets.azure_target import AzureTarget
from support.servers.certificates import LOOPBACK, server_tls_context
from support.servers.tcp import ConnectProxy, TcpServer, http_response

ASSERTION = "service-account-token-5up3rs3cr3t"
TENANT = "00000000-0000-0000-0000-000000000001"


class Issuer:
    """Issues the tokens t1, t2 … that are valid for ``seconds``, or raises ``error``."""

    def __init__(self, seconds: float = 3600.0) -> None:
        self.now = 1_000_000.0
        self.count = 0
        self.seconds = seconds
        self.error: Exception | None = None

    def __call__(self) -> AccessToken:
        self.count += 1
        if self.error is not None:
            raise self.error
        return AccessToken(f"t{self.count}", self.now + self.seconds)

    def tokens(self, timeout: float = 20.0) -> AccessTokens:
        return AccessTokens(self, timeout=timeout, now=lambda: self.now)


async def test_a_token_is_cached_until_five_minutes_before_its_end() -> None:
    """One request for a token serves all runs; five minutes before its end there is another one."""
    issuer = Issuer()
    tokens = issuer.tokens()
    given = [await tokens()]
    issuer.now += 3299
    given.append(await tokens())
    issuer.now += 2
    given.append(await tokens())
    assert ["t1", "t1", "t2"] == given
    assert ("t2", "t1") == tokens.recent


async def test_concurrent_runs_share_one_request() -> None:
    """Runs that start together wait for the same request."""
    issuer = Issuer()
    tokens = issuer.tokens()
    assert ["t1"] * 20 == await asyncio.gather(*(tokens() for _ in range(20)))


async def test_a_valid_token_outlives_a_failed_renewal() -> None:
    """A renewal that fails costs nothing until 30 s before the end; then it is the error of the run."""
    issuer = Issuer()
    tokens = issuer.tokens()
    await tokens()
    issuer.error = TokenUnavailable("down")
    issuer.now += 3500
    assert "t1" == await tokens()
    issuer.now += 80
    with pytest.raises(TokenUnavailable, match="down"):
        await tokens()


async def test_a_hanging_request_is_bounded_and_not_repeated() -> None:
    """A request that hangs is an error of the network after the time limit; meanwhile no second one is sent."""
    released, calls = threading.Event(), []

    def hang() -> AccessToken:
        calls.append(1)
        released.wait(60)
        return AccessToken("late", 1e12)

    tokens = AccessTokens(hang, timeout=0.05)
    for _ in range(2):
        with pytest.raises(TokenUnavailable, match=r"no access token within 0\.05 s"):
            await tokens()
    assert 1 == len(calls)
    released.set()
    while not tokens.recent:
        await asyncio.sleep(0.01)
    assert "late" == await tokens()


async def test_a_cancelled_run_leaves_the_request_to_others() -> None:
    """A run that is cancelled while it waits does not cancel the request of another one."""
    released = threading.Event()

    def wait() -> AccessToken:
        released.wait(60)
        return AccessToken("t", 1e12)

    tokens = AccessTokens(wait, timeout=30.0)
    first, second = (asyncio.create_task(tokens()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    released.set()
    assert "t" == await second


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("Missing required arguments: 'tenant_id'."), TokenRefused),
        (FileNotFoundError(2, "No such file or directory", "/gone"), TokenRefused),
        (ConnectionResetError("reset"), TokenUnavailable),
        (type("ServiceRequestError", (Exception,), {})("no route"), TokenUnavailable),
        (type("ClientAuthenticationError", (Exception,), {})("AADSTS7000215"), TokenRefused),
    ],
)
def test_errors_are_of_the_configuration_or_the_network(error: Exception, kind: type[Exception]) -> None:
    """What the identity lacks is an error of the configuration, a missing answer one of the network."""
    assert kind is type(explain_identity_error(error))


def test_the_message_of_an_error_is_one_line_about_the_cause() -> None:
    """Lines are joined and bounded; those that say nothing about the cause are left out."""
    text = "AADSTS7000215: Invalid secret.\r\nTrace ID: 1\n\tCredential:\x07not set. \nVisit https://aka.ms/x"
    assert "no access token: AADSTS7000215: Invalid secret. Credential: not set." == str(
        explain_identity_error(ValueError(text))
    )
    assert len(str(explain_identity_error(ValueError("x" * 9000)))) < 900


async def test_a_token_is_a_secret_of_the_target() -> None:
    """The current and the former token are redacted in what the target sends."""
    target = AzureTarget.model_validate({"type": "azure", "endpoint": "https://x.openai.azure.com", "identity": {}})
    target.__dict__["access_tokens"] = Issuer(100.0).tokens()
    tokens = target.access_tokens
    assert tokens is not None
    await tokens()
    await tokens()
    assert ("t2", "t1") == TargetSecrets(target)()


class Authority(TcpServer):
    """Microsoft Entra: answers each request for a token with ``answer``, and records the requests."""

    def __init__(self, answer: bytes) -> None:
        self.requests: list[str] = []
        self._reply = answer
        super().__init__(self._respond, ssl=server_tls_context(LOOPBACK))

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:")), 0)
        self.requests.append(head.split("\r\n")[0] + " " + (await reader.readexactly(length)).decode())
        writer.write(self._reply)
        await writer.drain()


def workload(authority: Authority, folder: Path, **settings: object) -> AzureTarget:
    (folder / "token").write_text(ASSERTION)
    identity = {
        "tenant_id": TENANT,
        "client_id": "client",
        "federated_token_file": str(folder / "token"),
        "authority_host": authority.base_url.removesuffix("/v1"),
    }
    return AzureTarget.model_validate(
        {
            "type": "azure",
            "endpoint": "https://x.openai.azure.com",
            "identity": identity,
            "ca_file": str(LOOPBACK),
            **settings,
        }
    )


async def fetch(target: AzureTarget) -> str:
    assert target.identity is not None
    return await AccessTokens(credential_fetcher(target.identity, target), timeout=30.0)()


async def test_workload_identity_exchanges_the_service_account_token(tmp_path: Path) -> None:
    """``azure-identity`` sends the token of the service account to the authority, and gets an access token."""
    issued = http_response(200, {"access_token": "issued", "expires_in": 3600, "token_type": "Bearer"})
    async with Authority(issued) as authority:
        assert "issued" == await fetch(workload(authority, tmp_path))
    (request,) = authority.requests
    assert (True, True, True) == (
        request.startswith(f"POST /{TENANT}/oauth2/v2.0/token "),
        f"client_assertion={ASSERTION}" in request,
        "scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default" in request,
    )


async def test_the_proxy_of_the_target_leads_to_the_authority(tmp_path: Path) -> None:
    """A request for a token takes the proxy of the target."""
    issued = http_response(200, {"access_token": "issued", "expires_in": 3600, "token_type": "Bearer"})
    async with Authority(issued) as authority, ConnectProxy(authority.port) as proxy:
        assert "issued" == await fetch(workload(authority, tmp_path, proxy=proxy.url))
    assert 1 == len(proxy.heads)


async def test_a_refused_identity_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    """The message has the code of Microsoft Entra, and not the token of the service account."""
    refusal = http_response(
        401, {"error": "invalid_client", "error_description": "AADSTS700016: Application was not found.\r\nTrace ID: 1"}
    )
    async with Authority(refusal) as authority:
        with pytest.raises(TokenRefused, match="AADSTS700016") as caught:
            await fetch(workload(authority, tmp_path))
    assert (False, None) == (ASSERTION in str(caught.value), caught.value.__cause__)


async def test_a_redirect_of_the_authority_is_not_followed(tmp_path: Path) -> None:
    """The token of the service account goes to no other server."""
    async with Authority(http_response(307, location="https://127.0.0.1:1/elsewhere")) as authority:
        with pytest.raises((TokenRefused, TokenUnavailable)):
            await fetch(workload(authority, tmp_path))
    assert 1 == len(authority.requests)


async def test_an_unreachable_authority_is_an_error_of_the_network(tmp_path: Path) -> None:
    """Nothing listens at the authority: that is no error of the identity."""
    async with Authority(b"") as authority:
        pass
    with pytest.raises(TokenUnavailable, match="no access token"):
        await fetch(workload(authority, tmp_path))


async def test_a_missing_token_file_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    """The message names the file."""
    async with Authority(b"") as authority:
        target = workload(authority, tmp_path)
        (tmp_path / "token").unlink()
        with pytest.raises(TokenRefused, match="No such file"):
            await fetch(target)
