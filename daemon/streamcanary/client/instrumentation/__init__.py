"""Spans and metrics of calls and attempts. Uses the OpenTelemetry API only, never its SDK.

Without an SDK the instruments are no-ops. No span becomes the current one, because the caller's code runs between two
reads of a stream. Span times are one wall time plus monotonic differences, so a clock step does not distort them.
https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""
