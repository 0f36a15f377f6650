"""The ``web:`` section."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from streamcanary.model.config_types.secret import Secret


def _check_length(token: Secret) -> Secret:
    if len(token.reveal()) < 16:
        raise ValueError("is too short to be secret; write at least 16 random characters")
    return token


class WebConfig(BaseModel):
    """Where health and the API are served: on loopback unless told otherwise; port 0 takes any free one.

    Whoever wants to change something has to show ``token`` (or the content of ``token_file``, read again when it
    changes) as ``Authorization: Bearer``. On loopback it is not needed unless it is set; elsewhere nothing can be
    changed without one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: Annotated[str, Field(min_length=1, max_length=255)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9465
    token: Annotated[Secret, AfterValidator(_check_length)] | None = None
    token_file: Path | None = None

    @model_validator(mode="after")
    def _check_one_token(self) -> "WebConfig":
        if self.token is not None and self.token_file is not None:
            raise ValueError("has both token and token_file; remove one")
        return self

    @property
    def bearer_token(self) -> Secret | None:
        """The token, wherever it comes from; ``None`` if there is none."""
        return Secret(path=self.token_file) if self.token_file else self.token
