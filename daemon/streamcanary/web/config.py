"""The ``web:`` section."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class WebConfig(BaseModel):
    """Where health is served: loopback unless told otherwise, on an uncommon port; port 0 takes any free one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: Annotated[str, Field(min_length=1, max_length=255)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9465
