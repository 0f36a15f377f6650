"""The target type ``azure``: deployments of Azure OpenAI.

Source: https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
"""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from streamcanary.canary.targets.azure_identity import AccessTokens, credential_fetcher
from streamcanary.canary.targets.target import BaseTarget, validate_base_url
from streamcanary.model.config_types.http_url import HTTP_URL_SCHEMA

_DEPLOYMENT = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
_API_VERSION = r"^\d{4}-\d{2}-\d{2}(-preview)?$"
_V1_PATH = "/openai/v1"


def _validate_endpoint(value: str) -> str:
    endpoint = validate_base_url(value)
    path = urlsplit(endpoint).path
    if "/openai" in f"{path}/".lower():
        shown = endpoint[: len(endpoint) - len(path) + path.lower().index("/openai")]
        raise ValueError(f"must be the address before /openai: {shown}")
    return endpoint


def _validate_authority(value: str) -> str:
    authority = validate_base_url(value)
    if not authority.lower().startswith("https://"):
        raise ValueError("must start with https://, such as https://login.microsoftonline.us")
    return authority


class AzureIdentity(BaseModel):
    """The Microsoft Entra identity that requests a token, instead of a key.

    ``workload`` is the Kubernetes service account of the pod: tenant, client and the file of its token come from the
    environment variables that the webhook of Azure Workload Identity sets, or from the keys here. ``managed`` is the
    managed identity of the machine, ``default`` the first credential that the machine has. ``scope`` is the audience of
    the token: that of Azure OpenAI in the public cloud by default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    credential: Literal["workload", "managed", "default"] = "workload"
    tenant_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    client_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    federated_token_file: Path | None = None
    authority_host: Annotated[str, AfterValidator(_validate_authority), HTTP_URL_SCHEMA] | None = None
    scope: Annotated[str, Field(pattern=r"^\S+$", max_length=300)] = "https://cognitiveservices.azure.com/.default"

    @model_validator(mode="after")
    def _keys_fit_the_credential(self) -> "AzureIdentity":
        if self.credential != "workload" and (self.tenant_id or self.federated_token_file or self.authority_host):
            raise ValueError("tenant_id, federated_token_file and authority_host apply only to credential: workload")
        return self


class AzureTarget(BaseTarget):
    """Deployments of one Azure OpenAI resource.

    ``endpoint`` is the address of the resource, or of a gateway before it. With ``api_version``, requests go to
    ``/openai/deployments/NAME``, as with the SDK's ``AsyncAzureOpenAI``; without it, to the v1 API, ``/openai/v1``,
    which has no versions. ``deployment`` answers the requests of all canaries of the target, whose ``model`` then only
    selects the list price; without it, the model of each canary is the name of its deployment. Exactly one of
    ``api_key``, ``api_key_file`` and ``identity`` is required. The other settings are those of
    :class:`~streamcanary.canary.targets.target.BaseTarget`.
    """

    type: Literal["azure"]
    endpoint: Annotated[str, AfterValidator(_validate_endpoint), HTTP_URL_SCHEMA]
    api_version: Annotated[str, Field(pattern=_API_VERSION)] | None = None
    deployment: Annotated[str, Field(pattern=_DEPLOYMENT, max_length=64)] | None = None
    identity: AzureIdentity | None = None
    provider: Annotated[str, Field(min_length=1, max_length=64)] = "azure.ai.openai"

    @model_validator(mode="after")
    def _exactly_one_credential(self) -> "AzureTarget":
        if sum(each is not None for each in (self.api_key, self.api_key_file, self.identity)) != 1:
            raise ValueError("needs exactly one of api_key, api_key_file and identity")
        return self

    @property
    def base_url(self) -> str:
        """The address to which the client appends the path of a request, without the deployment."""
        return f"{self.endpoint}/openai" if self.api_version else f"{self.endpoint}{_V1_PATH}"

    @cached_property
    def access_tokens(self) -> AccessTokens | None:
        """The access tokens of the identity, which all clients of the target share; ``None`` with a key."""
        return None if self.identity is None else AccessTokens(credential_fetcher(self.identity, self))

    @property
    def tokens(self) -> tuple[str, ...]:
        """The last two access tokens; a request that is still in flight may have the former one."""
        return self.access_tokens.recent if self.access_tokens else ()

    @property
    def public(self) -> tuple[str, ...]:
        """What is not secret: host, provider and deployment."""
        return (*super().public, self.deployment) if self.deployment else super().public

    def requested_model(self, model: str) -> str:
        """Return the deployment that answers a request for ``model``."""
        return self.deployment or model
