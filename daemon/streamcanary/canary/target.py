"""The ``targets:`` section: whom to ask."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from streamcanary.canary.proxy import ProxyUnusable, read_proxy
from streamcanary.model.header import HeaderName, HeaderValue
from streamcanary.model.secret import Secret


def _http_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        port_is_valid = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        port_is_valid = False
    if not port_is_valid or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http:// or https:// address, such as https://api.openai.com/v1")
    if parts.username or parts.password:
        raise ValueError("must not carry a user name or password; use api_key or headers")
    if any(character <= " " or character == "\x7f" for character in value):
        raise ValueError("must have no space or control character in it")
    if "?" in value or "#" in value:
        raise ValueError("must end with its path: the client adds its own after it, so no ? and no #")
    return value.rstrip("/")


def _proxy_address(value: Secret) -> Secret:
    try:
        read_proxy(value.reveal(), "")
    except ProxyUnusable:
        raise ValueError("must be an http:// or https:// address, such as http://proxy.example:3128") from None
    return value


class TargetSpec(BaseModel):
    """One endpoint that speaks the OpenAI API.

    The key is given as ``api_key`` or ``api_key_file``; an endpoint that wants none takes any text, such as ``none``.
    ``headers`` go with every request; a value is text or ``{file: PATH}``, and a file is read again when it changes.
    ``proxy`` goes before those of the environment, and may hold a user name and password. ``ca_file`` is trusted
    instead of the system's authorities. ``client_cert`` is shown to the endpoint, with the key in the same file or in
    ``client_key``. All three files are PEM, and are read when the client is opened.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["openai"] = "openai"
    base_url: Annotated[str, AfterValidator(_http_address)] = "https://api.openai.com/v1"
    api_key: Secret | None = None
    api_key_file: Path | None = None
    provider: Annotated[str, Field(min_length=1, max_length=64)] = "openai"
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    proxy: Annotated[Secret, AfterValidator(_proxy_address)] | None = None
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    finish_reason: Literal["required", "lenient"] = "required"

    @model_validator(mode="after")
    def _one_key(self) -> "TargetSpec":
        if (self.api_key is None) is (self.api_key_file is None):
            raise ValueError("needs exactly one of api_key and api_key_file")
        return self

    @model_validator(mode="after")
    def _key_of_a_certificate(self) -> "TargetSpec":
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("client_key needs client_cert, the certificate that it belongs to")
        return self

    @property
    def key(self) -> Secret:
        """The API key, wherever it comes from."""
        return self.api_key or Secret(path=self.api_key_file)
