"""The settings of a connection that whatever talks HTTP has in common."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from streamcanary.model.config_types.secret import Secret
from streamcanary.transport.proxy import ProxyUnusable, read_proxy


def _proxy_address(value: Secret) -> Secret:
    try:
        read_proxy(value.reveal(), "")
    except ProxyUnusable:
        raise ValueError("must be an http:// or https:// address, such as http://proxy.example:3128") from None
    return value


class Way(BaseModel):
    """The way to a server.

    ``proxy`` goes before those of the environment, and may hold a user name and password. ``ca_file`` is trusted
    instead of the system's authorities. ``client_cert`` is shown to a server that asks, with the key in the same file
    or in ``client_key``. All three files are PEM.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    proxy: Annotated[Secret, AfterValidator(_proxy_address)] | None = None
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None

    @model_validator(mode="after")
    def _key_of_a_certificate(self) -> Self:
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("client_key needs client_cert, the certificate that it belongs to")
        return self

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of certificates and keys that it names."""
        return tuple(file for file in (self.ca_file, self.client_cert, self.client_key) if file is not None)
