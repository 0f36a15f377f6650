"""The ``telemetry:`` section."""

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, StringConstraints, model_validator

from streamcanary.model.duration import PositiveDuration
from streamcanary.model.secret import Secret

Protocol = Literal["http/protobuf", "grpc"]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$", max_length=128)]
ResourceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.:/-]*$", max_length=255)]
ResourceValue = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


def check_endpoint(endpoint: str) -> None:
    """Refuse an address that is none, or that carries credentials, which would end in logs.

    Raises:
        ValueError: saying what is wrong with it.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an endpoint is an address such as http://localhost:4318")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an endpoint holds no user name or password: put them in `headers`")
    if parts.query or parts.fragment:
        raise ValueError("an endpoint ends with its path: no `?` and no `#`")


class OtlpConfig(BaseModel):
    """Where traces and metrics go.

    ``endpoint`` is the base address (``http://localhost:4318``): over http/protobuf ``/v1/traces`` and ``/v1/metrics``
    are added to it. ``interval`` is how often metrics are exported, ``timeout`` bounds one export; both in seconds.
    ``headers`` are sent with each export; their files are read again as they change, over gRPC at the start only.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: HttpUrl
    protocol: Protocol = "http/protobuf"
    headers: dict[HeaderName, Secret] = Field(default_factory=dict, max_length=32)
    interval: Annotated[PositiveDuration, Field(ge=1, le=3600)] = 10.0
    timeout: Annotated[PositiveDuration, Field(le=60)] = 2.0

    @model_validator(mode="after")
    def _endpoint_is_plain(self) -> Self:
        check_endpoint(str(self.endpoint))
        if self.protocol == "grpc" and (self.endpoint.path or "/") != "/":
            raise ValueError("with protocol grpc an endpoint has no path: write http://localhost:4317")
        if re.search(r"/v1/(traces|metrics)/?$", self.endpoint.path or ""):
            raise ValueError("an endpoint is the base address, without /v1/traces or /v1/metrics")
        return self


class TelemetryConfig(BaseModel):
    """What is exported, and under which resource.

    Without ``otlp`` the standard environment decides (``OTEL_EXPORTER_OTLP_ENDPOINT`` and its like); without that,
    nothing is exported. ``resource`` adds attributes, and replaces those that were found out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    otlp: OtlpConfig | None = None
    resource: dict[ResourceName, ResourceValue] = Field(default_factory=dict, max_length=64)
