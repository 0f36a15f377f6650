"""The ``web:`` section."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from streamcanary.model.config_types.secret import Secret
from streamcanary.web.allowed_hosts import AllowedHost


def _check_length(token: Secret) -> Secret:
    if len(token.reveal()) < 16:
        raise ValueError("is too short to be secret; write at least 16 random characters")
    return token


class WebConfig(BaseModel):
    """The address of the health endpoints and the API, loopback by default. Port 0 selects any free port.

    If ``token`` is set (or ``token_file``, read again when it changes), requests to the API must send it as
    ``Authorization: Bearer``. Without one, everyone who reaches the address can read, and only requests to a loopback
    address can change state. Requests to the API must have a known ``Host``: a name of loopback, ``host``, the address
    that the client has connected to, or one of ``allowed_hosts``. The health endpoints need neither.

    With ``public_page``, ``/public`` and the badges need no token: names, states and availability of canaries.

    ``liveness_file`` is renewed every few seconds, for a liveness probe that cannot reach the port. It does not need
    the server: with ``enabled: false`` the daemon listens nowhere, and takes no port from other containers of its pod.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    host: Annotated[str, Field(min_length=1, max_length=255)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9465
    token: Annotated[Secret, AfterValidator(_check_length)] | None = None
    token_file: Path | None = None
    allowed_hosts: Annotated[tuple[AllowedHost, ...], Field(max_length=100)] = ()
    public_page: bool = False
    liveness_file: Path | None = None

    @model_validator(mode="after")
    def _check_one_token(self) -> "WebConfig":
        if self.token is not None and self.token_file is not None:
            raise ValueError("has both token and token_file; remove one")
        return self

    @property
    def bearer_token(self) -> Secret | None:
        """The token from ``token`` or ``token_file``; ``None`` if neither is set."""
        return Secret(path=self.token_file) if self.token_file else self.token
