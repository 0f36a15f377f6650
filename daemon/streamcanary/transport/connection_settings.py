"""The connection settings that targets, receivers and other HTTP clients share."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from streamcanary.model.config_types.secret import Secret
from streamcanary.transport.proxy import InvalidProxyUrl, parse_proxy


def _validate_proxy_url(value: Secret) -> Secret:
    try:
        parse_proxy(value.reveal(), "")
    except InvalidProxyUrl:
        raise ValueError("must be an http:// or https:// address, such as http://proxy.example:3128") from None
    return value


class ConnectionSettings(BaseModel):
    """The settings of connections to a server.

    ``proxy`` overrides those of the environment, and may contain a user name and password. ``ca_file`` has the trusted
    authorities, instead of those of the system. ``client_cert`` is the client certificate for servers that request one,
    with the key in the same file or in ``client_key``. All three files are PEM.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    proxy: Annotated[Secret, AfterValidator(_validate_proxy_url)] | None = None
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None

    @model_validator(mode="after")
    def _client_key_needs_cert(self) -> Self:
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("client_key needs client_cert; set the certificate of the key")
        return self

    @property
    def tls_files(self) -> tuple[Path, ...]:
        """The certificate and key files that are set."""
        return tuple(file for file in (self.ca_file, self.client_cert, self.client_key) if file is not None)
