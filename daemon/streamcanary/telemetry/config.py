"""The ``telemetry:`` section."""

import re
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl, StringConstraints, model_validator

from streamcanary.model.config_types.duration import PositiveDuration
from streamcanary.model.config_types.http_header import HeaderValue

Protocol = Literal["http/protobuf", "grpc"]
Signal = Literal["traces", "metrics", "logs"]
Temporality = Literal["cumulative", "delta", "lowmemory"]
HistogramAggregation = Literal["explicit", "exponential"]
Convention = Literal["openinference", "langfuse"]
SeriesDetail = Literal["auto", "full", "reduced"]

LARGE_FLEET: Final = 2_000
"""Canaries above which the series of metrics are reduced, unless ``series`` says otherwise."""

SIGNALS: Final[tuple[Signal, ...]] = ("traces", "metrics", "logs")


def _validate_header_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", name):  # gRPC allows only these characters
        raise ValueError("not a valid header name: letters, digits, '_', '-' and '.', at most 128 characters")
    return name


def _validate_attribute_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,254}", name):
        raise ValueError(
            "not a valid attribute name: letters, digits, '_', '.', ':', '/' and '-', "
            "beginning with a letter or '_', at most 255 characters"
        )
    return name


HeaderName = Annotated[str, AfterValidator(_validate_header_name)]
ResourceName = Annotated[str, AfterValidator(_validate_attribute_name)]
ResourceValue = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


def check_endpoint(endpoint: str) -> None:
    """Reject an invalid endpoint, and one that contains credentials, which would appear in logs.

    Raises:
        ValueError: if the endpoint is rejected; the message has the reason.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an endpoint is an address such as http://localhost:4318")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an endpoint must not contain a user name or password: put them in `headers`")
    if parts.query or parts.fragment:
        raise ValueError("an endpoint must end with its path: no `?` and no `#`")


class OtlpConfig(BaseModel):
    """The OTLP endpoint of traces, metrics and logs, and how to export to it.

    ``endpoint`` is the base address (``http://localhost:4318``): over http/protobuf ``/v1/traces``, ``/v1/metrics`` and
    ``/v1/logs`` are added to it. ``interval`` is how often metrics are exported, ``timeout`` bounds one export; both in
    seconds. ``headers`` are sent with each export. A value is text or ``{file: PATH}``; a file is read again when it
    changes, over gRPC at the start only. ``signals`` are the signals that the endpoint accepts.

    ``temporality`` and ``histograms`` default to the standard variables (``None``; see
    :mod:`streamcanary.telemetry.otlp.export_settings`), and without these to ``cumulative`` and ``explicit``.
    https://opentelemetry.io/docs/specs/otel/metrics/sdk_exporters/otlp/
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: HttpUrl
    protocol: Protocol = "http/protobuf"
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict, max_length=32)
    interval: Annotated[PositiveDuration, Field(ge=1, le=3600)] = 10.0
    timeout: Annotated[PositiveDuration, Field(le=60)] = 2.0
    signals: Annotated[tuple[Signal, ...], Field(min_length=1, max_length=len(SIGNALS))] = SIGNALS
    temporality: Temporality | None = None
    histograms: HistogramAggregation | None = None

    @model_validator(mode="after")
    def _validate_endpoint(self) -> Self:
        check_endpoint(str(self.endpoint))
        if self.protocol == "grpc" and (self.endpoint.path or "/") != "/":
            raise ValueError("with protocol grpc an endpoint has no path: write http://localhost:4317")
        if re.search(r"/v1/(traces|metrics|logs)/?$", self.endpoint.path or ""):
            raise ValueError("an endpoint is the base address, without /v1/traces, /v1/metrics or /v1/logs")
        return self


class TelemetryConfig(BaseModel):
    """The export settings, and the attributes of the resource.

    Without ``otlp`` the standard environment variables apply (``OTEL_EXPORTER_OTLP_ENDPOINT`` and others); without
    these, nothing is exported. ``prometheus`` serves the metrics at ``/metrics`` of the web server. ``resource`` adds
    attributes, and overrides detected ones and those of the environment.

    ``content`` records prompts and answers of canaries on spans, redacted and bounded; by default the variable
    ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` decides. ``conventions`` adds to exported spans the
    attributes that some backends read in place of those of the GenAI conventions.

    ``series`` is how many metric series each canary has. With ``reduced``, histograms and rate limits have one series a
    target in place of one a canary, and counters and alerts of a canary have no series before the first event. ``auto``
    is ``reduced`` with more than 2,000 canaries, and ``full`` otherwise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    otlp: OtlpConfig | None = None
    prometheus: bool = True
    resource: dict[ResourceName, ResourceValue] = Field(default_factory=dict, max_length=64)
    content: bool | None = None
    conventions: Annotated[tuple[Convention, ...], Field(max_length=2)] = ()
    series: SeriesDetail = "auto"

    def has_reduced_series(self, canaries: int) -> bool:
        """Return whether the series of metrics are reduced, with this number of ``canaries``."""
        return canaries > LARGE_FLEET if self.series == "auto" else self.series == "reduced"
