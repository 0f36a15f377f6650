"""Resolves the export settings from the ``telemetry:`` section, or else from the standard environment variables.

With ``otlp`` in the section, its endpoint, protocol, interval and timeout apply, and those of the environment do not.
Without it, these variables apply (https://opentelemetry.io/docs/specs/otel/protocol/exporter/):

- ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_EXPORTER_OTLP_{TRACES,METRICS}_ENDPOINT``
- ``OTEL_EXPORTER_OTLP_PROTOCOL``: ``http/protobuf`` (the default) or ``grpc``
- ``OTEL_{TRACES,METRICS}_EXPORTER=none``, which disables a signal
- ``OTEL_METRIC_EXPORT_INTERVAL``, in milliseconds

In both cases the SDK itself reads ``OTEL_EXPORTER_OTLP_HEADERS`` (headers of the section are added), the
``…_CERTIFICATE``, ``…_CLIENT_CERTIFICATE`` and ``…_CLIENT_KEY`` files, ``…_COMPRESSION`` and ``OTEL_TRACES_SAMPLER``;
and ``OTEL_SDK_DISABLED=true`` disables all exports.
"""

from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct, field

from streamcanary.model.config_types.secret import Secret
from streamcanary.telemetry.config import OtlpConfig, Protocol, TelemetryConfig, check_endpoint

Signal = Literal["traces", "metrics"]
_PROTOCOLS: dict[str, Protocol] = {"http/protobuf": "http/protobuf", "grpc": "grpc"}
_OTLP_FIELDS = OtlpConfig.model_fields
_MAX_INTERVAL = 3600.0


class TelemetryMisconfigured(Exception):
    """The export settings are invalid; the message names the variable or header, and a valid value."""


class ExportSettings(Struct, frozen=True, kw_only=True):
    """Where and how to export. An endpoint is complete, including its path; ``None`` disables the signal.

    ``interval`` and ``timeout`` are seconds.
    """

    protocol: Protocol
    traces_endpoint: str | None
    metrics_endpoint: str | None
    headers: dict[str, Secret] = field(default_factory=dict)
    interval: float = _OTLP_FIELDS["interval"].default
    timeout: float = _OTLP_FIELDS["timeout"].default


def resolve_export_settings(section: TelemetryConfig, environ: Mapping[str, str]) -> ExportSettings | None:
    """Return the export settings, or ``None`` if nothing is exported.

    Raises:
        TelemetryMisconfigured: if an environment variable that applies is invalid.
    """
    if is_sdk_disabled(environ):
        return None
    if (otlp := section.otlp) is None:
        return _from_environment(environ)
    base = str(otlp.endpoint)
    return ExportSettings(
        protocol=otlp.protocol,
        traces_endpoint=_signal_endpoint(base, "traces", otlp.protocol),
        metrics_endpoint=_signal_endpoint(base, "metrics", otlp.protocol),
        headers={name.lower(): value for name, value in otlp.headers.items()},
        interval=otlp.interval,
        timeout=otlp.timeout,
    )


def is_sdk_disabled(environ: Mapping[str, str]) -> bool:
    """Return whether ``OTEL_SDK_DISABLED`` is ``true``: then the SDK records nothing."""
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def is_loopback(endpoint: str) -> bool:
    """Return whether ``endpoint`` is on this machine, where no proxy can reach it."""
    host = (urlsplit(endpoint).hostname or "").lower()
    return host in ("localhost", "::1") or host.endswith(".localhost") or host.startswith("127.")


def _from_environment(environ: Mapping[str, str]) -> ExportSettings | None:
    name = environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "").strip() or "http/protobuf"
    traces = _environment_endpoint(environ, "traces", name)
    metrics = _environment_endpoint(environ, "metrics", name)
    if traces is None and metrics is None:
        return None
    if (protocol := _PROTOCOLS.get(name)) is None:
        raise TelemetryMisconfigured(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {name[:40]!r}: it must be {' or '.join(_PROTOCOLS)}"
        )
    return ExportSettings(
        protocol=protocol, traces_endpoint=traces, metrics_endpoint=metrics, interval=_environment_interval(environ)
    )


def _environment_endpoint(environ: Mapping[str, str], signal: Signal, protocol: str) -> str | None:
    if environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip().lower() == "none":
        return None
    signal_variable, shared_variable = f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
    variable = signal_variable if environ.get(signal_variable, "").strip() else shared_variable
    endpoint = environ.get(variable, "").strip()
    if not endpoint:
        return None
    try:
        check_endpoint(endpoint)
    except ValueError as error:
        raise TelemetryMisconfigured(f"{variable}: {error}") from None
    return endpoint if variable == signal_variable else _signal_endpoint(endpoint, signal, protocol)


def _environment_interval(environ: Mapping[str, str]) -> float:
    text = environ.get("OTEL_METRIC_EXPORT_INTERVAL", "").strip()
    if not text:
        return float(_OTLP_FIELDS["interval"].default)
    seconds = int(text) / 1000 if text.isascii() and text.isdigit() and len(text) < 10 else 0.0
    if not 1 <= seconds <= _MAX_INTERVAL:
        raise TelemetryMisconfigured(
            "OTEL_METRIC_EXPORT_INTERVAL is a whole number of milliseconds, 1000 to 3600000, such as 10000"
        )
    return seconds


def _signal_endpoint(base: str, signal: Signal, protocol: str) -> str:
    return base.rstrip("/") if protocol == "grpc" else f"{base.rstrip('/')}/v1/{signal}"
