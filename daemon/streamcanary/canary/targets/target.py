"""The ``targets:`` section: the monitored endpoints."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, model_validator

from streamcanary.canary.spend.prices import Price, PriceSetting, price_of
from streamcanary.model.config_types.http_header import HeaderName, HeaderValue
from streamcanary.model.config_types.http_url import HTTP_URL_SCHEMA
from streamcanary.model.config_types.secret import Secret
from streamcanary.transport.connection_settings import ConnectionSettings

_DEFAULT_BASE_URL = "https://api.openai.com/v1"


def validate_base_url(value: str) -> str:
    """Return the address of an API without a slash at its end.

    Raises:
        ValueError: if it is not an http or https URL, or has more than a host, a port and a path.
    """
    if not value.lower().startswith(("http://", "https://")):
        raise ValueError(f"must start with http:// or https://, such as {_DEFAULT_BASE_URL}")
    try:
        parts = urlsplit(value)
    except ValueError:  # brackets that hold no IPv6 address
        parts = urlsplit("")
    if not parts.hostname:
        raise ValueError(f"has no host; write it like {_DEFAULT_BASE_URL}")
    if not _has_valid_port(parts):
        port = parts.netloc.rpartition(":")[2]
        shown = f", not {port:.20}" if port.isdecimal() else ""  # other text may be part of a password
        raise ValueError(f"must have a port from 1 to 65535, or none{shown}")
    if parts.username or parts.password:
        raise ValueError("must not contain a user name or password; use api_key or headers")
    if any(character <= " " or character == "\x7f" for character in value):
        raise ValueError("must not contain a space or control character")
    if "?" in value or "#" in value:
        raise ValueError("must not contain ? or #: the client appends to the path")
    return value.rstrip("/")


def _has_valid_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


class BaseTarget(ConnectionSettings):
    """The settings that targets of every type share.

    ``headers`` are sent with every request; a value is text or ``{file: PATH}``, and a file is read again when it
    changes. ``proxy`` and the three certificate files are as in
    :class:`~streamcanary.transport.connection_settings.ConnectionSettings`; the files are read when the client is
    created. ``price`` is the price of tokens: ``auto`` (the list price, looked up only for a budget in USD), ``free``,
    or USD per million tokens. The spend metric needs one of the latter two, or a budget in USD. ``max_concurrent_runs``
    limits the runs of its canaries at once; the default is 100, or what they need when each run takes 5 s.
    """

    api_key: Secret | None = None
    api_key_file: Path | None = None
    provider: Annotated[str, Field(min_length=1, max_length=64)] = "openai"
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    finish_reason: Literal["required", "lenient"] = "required"
    price: PriceSetting = "auto"
    max_concurrent_runs: Annotated[int, Field(ge=1, le=10_000)] | None = None

    if TYPE_CHECKING:  # a field of one type, a property of the other

        @property
        def base_url(self) -> str:
            """The address to which the client appends the path of each request."""

    @property
    def key(self) -> Secret | None:
        """The API key, from ``api_key`` or ``api_key_file``; ``None`` without one."""
        return self.api_key or (Secret(path=self.api_key_file) if self.api_key_file else None)

    @property
    def host(self) -> str:
        """Host and port of the endpoint, which another target may share."""
        parts = urlsplit(self.base_url)
        return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or ""

    @property
    def public(self) -> tuple[str, ...]:
        """What is known to anyone who uses the target, and not secret: its host and its provider."""
        return self.host, self.provider

    @property
    def tokens(self) -> tuple[str, ...]:
        """The secrets that are not in the configuration: access tokens, the newest first."""
        return ()

    def requested_model(self, model: str) -> str:
        """Return the name that a request for ``model`` has: of the model, or of what the target has in its place."""
        return model

    def price_of(self, model: str) -> Price | None:
        """Return the price of tokens of ``model`` at this target; ``None`` if it is unknown."""
        return price_of(self.price, model=model, base_url=self.base_url, provider=self.provider)


class TargetSpec(BaseTarget):
    """One endpoint with the OpenAI API.

    The key is ``api_key`` or ``api_key_file``; for an endpoint without authentication it is any text, such as ``none``.
    """

    type: Literal["openai"] = "openai"
    base_url: Annotated[str, AfterValidator(validate_base_url), HTTP_URL_SCHEMA] = _DEFAULT_BASE_URL

    @model_validator(mode="after")
    def _exactly_one_key(self) -> "TargetSpec":
        if (self.api_key is None) is (self.api_key_file is None):
            raise ValueError("needs exactly one of api_key and api_key_file")
        return self
