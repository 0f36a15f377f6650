"""Resolves the export settings from the ``telemetry:`` section, or else from the standard environment variables.

With ``otlp`` in the section, its endpoint, protocol, signals, interval and timeout apply, and those of the environment
do not. Without it, these variables apply (https://opentelemetry.io/docs/specs/otel/protocol/exporter/):

- ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_EXPORTER_OTLP_{TRACES,METRICS,LOGS}_ENDPOINT``
- ``OTEL_EXPORTER_OTLP_PROTOCOL``: ``http/protobuf`` (the default) or ``grpc``
- ``OTEL_{TRACES,METRICS,LOGS}_EXPORTER=none``, which disables a signal
- ``OTEL_METRIC_EXPORT_INTERVAL``, in milliseconds

These apply without a section, and where it leaves the value open (``temporality``, ``histograms``):

- ``OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE``: ``cumulative`` (the default), ``delta`` or ``lowmemory``
- ``OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION``: ``explicit_bucket_histogram`` (the default) or
  ``base2_exponential_bucket_histogram``

A value of these two that is not known is logged and ignored, as the specification of OpenTelemetry asks.

In both cases the SDK itself reads ``OTEL_EXPORTER_OTLP_HEADERS`` (headers of the section are added), the
``…_CERTIFICATE``, ``…_CLIENT_CERTIFICATE`` and ``…_CLIENT_KEY`` files, ``…_COMPRESSION`` and ``OTEL_TRACES_SAMPLER``;
and ``OTEL_SDK_DISABLED=true`` disables all exports.
"""

import logging
from collections.abc import Mapping
from typing import Final, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct, field

from streamcanary.model.config_types.secret import Secret
from streamcanary.telemetry.config import (
    SIGNALS,
    HistogramAggregation,
    OtlpConfig,
    Protocol,
    Signal,
    TelemetryConfig,
    Temporality,
    check_endpoint,
)

_logger = logging.getLogger(__name__)
T = TypeVar("T", bound=str)
_PROTOCOLS: Final[dict[str, Protocol]] = {"http/protobuf": "http/protobuf", "grpc": "grpc"}
_TEMPORALITIES: Final[dict[str, Temporality]] = {
    "cumulative": "cumulative",
    "delta": "delta",
    "lowmemory": "lowmemory",
}
_HISTOGRAMS: Final[dict[str, HistogramAggregation]] = {
    "explicit_bucket_histogram": "explicit",
    "base2_exponential_bucket_histogram": "exponential",
}
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
    logs_endpoint: str | None = None
    headers: dict[str, Secret] = field(default_factory=dict)
    interval: float = _OTLP_FIELDS["interval"].default
    timeout: float = _OTLP_FIELDS["timeout"].default
    temporality: Temporality = "cumulative"
    histograms: HistogramAggregation = "explicit"


def resolve_export_settings(section: TelemetryConfig, environ: Mapping[str, str]) -> ExportSettings | None:
    """Return the export settings, or ``None`` if nothing is exported over OTLP.

    Raises:
        TelemetryMisconfigured: if an environment variable that applies is invalid.
    """
    if is_sdk_disabled(environ):
        return None
    if (otlp := section.otlp) is None:
        return _from_environment(environ)
    base = str(otlp.endpoint)
    endpoints = {signal: _signal_endpoint(base, signal, otlp.protocol) for signal in otlp.signals}
    return ExportSettings(
        protocol=otlp.protocol,
        traces_endpoint=endpoints.get("traces"),
        metrics_endpoint=endpoints.get("metrics"),
        logs_endpoint=endpoints.get("logs"),
        headers={name.lower(): value for name, value in otlp.headers.items()},
        interval=otlp.interval,
        timeout=otlp.timeout,
        temporality=otlp.temporality or _environment_temporality(environ),
        histograms=otlp.histograms or _environment_histograms(environ),
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
    endpoints = {signal: _environment_endpoint(environ, signal, name) for signal in SIGNALS}
    if not any(endpoints.values()):
        return None
    return ExportSettings(
        protocol=_choice(environ, "OTEL_EXPORTER_OTLP_PROTOCOL", _PROTOCOLS),
        traces_endpoint=endpoints["traces"],
        metrics_endpoint=endpoints["metrics"],
        logs_endpoint=endpoints["logs"],
        interval=_environment_interval(environ),
        temporality=_environment_temporality(environ),
        histograms=_environment_histograms(environ),
    )


def _environment_temporality(environ: Mapping[str, str]) -> Temporality:
    return _known_choice(environ, "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", _TEMPORALITIES)


def _environment_histograms(environ: Mapping[str, str]) -> HistogramAggregation:
    return _known_choice(environ, "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", _HISTOGRAMS)


def _known_choice(environ: Mapping[str, str], variable: str, choices: Mapping[str, T]) -> T:
    """Return as :func:`_choice` does; the first choice, with a line in the log, if the value is none of them."""
    try:
        return _choice(environ, variable, choices)
    except TelemetryMisconfigured as error:
        _logger.warning("environment variable ignored", extra={"variable": variable, "problem": str(error)})
        return next(iter(choices.values()))


def _choice(environ: Mapping[str, str], variable: str, choices: Mapping[str, T]) -> T:
    """Return the choice that ``variable`` names, in any case; the first one if it is not set.

    Raises:
        TelemetryMisconfigured: if the value is none of the choices.
    """
    text = environ.get(variable, "").strip()
    if not text:
        return next(iter(choices.values()))
    if (choice := choices.get(text.lower())) is None:
        *others, last = choices
        raise TelemetryMisconfigured(f"{variable} is {text[:40]!r}: it must be {', '.join(others)} or {last}")
    return choice


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
