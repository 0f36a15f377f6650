"""The settings of a target of Azure: valid and invalid ones, prices, warnings."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from streamcanary import settings
from streamcanary.canary.spend.prices import Price
from streamcanary.canary.targets import azure_identity
from streamcanary.canary.targets.azure_target import AzureTarget
from streamcanary.settings import ConfigInvalid, load

ENDPOINT = "https://contoso.openai.azure.com"
ONE_CREDENTIAL = "needs exactly one of api_key, api_key_file and identity"
CANARY = "canaries:\n  chat: {target: azure, model: gpt-4.1-mini%s}\n"


def azure(**changes: Any) -> AzureTarget:
    return AzureTarget.model_validate({"type": "azure", "endpoint": ENDPOINT, "api_key": "k", **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"endpoint": "contoso.openai.azure.com"}, "must start with http:// or https://"),
        ({"endpoint": f"{ENDPOINT}/openai/v1"}, f"must be the address before /openai: {ENDPOINT}"),
        ({"endpoint": f"{ENDPOINT}/openai/"}, f"must be the address before /openai: {ENDPOINT}"),
        ({"api_version": "v1"}, "String should match pattern"),
        ({"deployment": "a/b"}, "String should match pattern"),
        ({"api_key": None}, ONE_CREDENTIAL),
        ({"identity": {}}, ONE_CREDENTIAL),
        ({"api_key": None, "identity": {"credential": "managed", "tenant_id": "t"}}, "apply only to credential"),
        ({"api_key": None, "identity": {"authority_host": "http://login.test"}}, "must start with https://"),
        ({"base_url": ENDPOINT}, "Extra inputs are not permitted"),
    ],
)
def test_invalid_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    """The message says what would be right."""
    with pytest.raises(ValidationError) as caught:
        azure(**changes)
    assert [True] == [message in error["msg"] for error in caught.value.errors()]


def test_a_gateway_may_have_a_path() -> None:
    """The address of a gateway before the resource may have a path, which is kept."""
    target = azure(endpoint="https://gateway.example/azure/", api_version="2024-10-21")
    assert ("https://gateway.example/azure/openai", "gateway.example") == (target.base_url, target.host)


def test_a_list_price_is_that_of_the_model() -> None:
    """The model of a canary has a list price at Azure, the name of a deployment has none."""
    assert (Price(input=0.4, output=1.6), None) == (azure().price_of("gpt-4.1-mini"), azure().price_of("chat-prod"))


def write(folder: Path, target: str, canary: str = "") -> Path:
    path = folder / "streamcanary.yaml"
    path.write_text(f"targets:\n  azure: {{{target}}}\n{CANARY % canary}")
    return path


def test_a_version_needs_no_quotes(tmp_path: Path) -> None:
    """A version looks like a date, and is text all the same."""
    loaded = load(write(tmp_path, f"type: azure, endpoint: {ENDPOINT}, api_key: k, api_version: 2024-10-21"), {})
    target = loaded.targets["azure"]
    assert isinstance(target, AzureTarget)
    assert ("2024-10-21", "azure.ai.openai") == (target.api_version, loaded.to_canaries()[0].provider)


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("type: azure, api_key: k", "2:3: targets.azure.endpoint: is required, and missing"),
        (f"endpoint: {ENDPOINT}, api_key: k", "2:11: targets.azure.endpoint: unknown key; only azure takes endpoint"),
        ("type: azur, api_key: k", "2:17: targets.azure.type: must be one of 'openai', 'azure'"),
    ],
)
def test_errors_name_the_type(target: str, problem: str, tmp_path: Path) -> None:
    """A key of the other type is reported as such; without a type it is ``openai``."""
    with pytest.raises(ConfigInvalid) as caught:
        load(write(tmp_path, target), {})
    assert [problem] == [str(each).partition("streamcanary.yaml:")[2][: len(problem)] for each in caught.value.problems]


def test_an_identity_without_its_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how to install it."""
    monkeypatch.setattr(settings.azure_identity, "is_installed", lambda: False)
    with pytest.raises(ConfigInvalid, match=r"pip install 'streamcanary\[azure\]'"):
        load(write(tmp_path, f"type: azure, endpoint: {ENDPOINT}, identity: {{}}"), {})
    assert True is azure_identity.INSTALL.startswith("needs the package azure-identity")


def test_a_fallback_to_the_same_deployment_is_warned_of(tmp_path: Path) -> None:
    """A deployment answers every model, so that a fallback to another model of the target asks it again."""
    target = f"type: azure, endpoint: {ENDPOINT}, api_key: k, deployment: chat-prod"
    (warning,) = load(write(tmp_path, target, ", fallbacks: [{model: gpt-4.1}]"), {}).warnings
    assert True is ("sends every request to its deployment chat-prod" in str(warning))
