"""Credentials that are found on the machine: which error is of the configuration, and which of the network."""

import logging
import socket
from pathlib import Path

import pytest

from streamcanary.canary.targets.azure_identity import AccessTokens, TokenRefused, TokenUnavailable, credential_fetcher
from streamcanary.canary.targets.azure_target import AzureTarget

TENANT = "00000000-0000-0000-0000-000000000001"


@pytest.fixture(autouse=True)
def unreachable(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the host and port of a server that is not there; the metadata service of the machine is at it."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://{host}")
    monkeypatch.setenv("PATH", "/nonexistent")  # no command line of a developer
    return host


async def fetch(credential: str) -> str:
    target = AzureTarget.model_validate(
        {"type": "azure", "endpoint": "https://x.openai.azure.com", "identity": {"credential": credential}}
    )
    assert target.identity is not None
    return await AccessTokens(credential_fetcher(target.identity, target), timeout=30.0)()


async def test_an_unreachable_authority_is_no_error_of_a_credential_that_was_found(
    unreachable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment has a workload identity, and nothing listens at the authority."""
    (tmp_path / "token").write_text("service-account-token")
    found = {"TENANT_ID": TENANT, "CLIENT_ID": "client", "FEDERATED_TOKEN_FILE": str(tmp_path / "token")}
    for name, value in {**found, "AUTHORITY_HOST": f"https://{unreachable}"}.items():
        monkeypatch.setenv(f"AZURE_{name}", value)
    with pytest.raises(TokenUnavailable, match="refused"):
        await fetch("default")


async def test_a_metadata_service_that_does_not_answer_is_an_error_of_the_network() -> None:
    """A managed identity is configured, so the machine should have one."""
    with pytest.raises(TokenUnavailable, match="no response from the IMDS endpoint"):
        await fetch("managed")


async def test_a_machine_without_any_credential_is_an_error_of_the_configuration(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The one line names every credential that was looked for; the library's own warning is not logged."""
    with caplog.at_level(logging.WARNING), pytest.raises(TokenRefused) as caught:
        await fetch("default")
    message = str(caught.value)
    for name in ("EnvironmentCredential", "WorkloadIdentityCredential", "ManagedIdentityCredential"):
        assert f"{name}: " in message
    assert "ManagedIdentityCredential: no response from the IMDS endpoint" in message[:500]  # what a fault shows
    assert "https://" not in message
    assert (1, []) == (len(message.splitlines()), [each.name for each in caplog.records if "azure" in each.name])
