"""Configures the OpenTelemetry SDK and logging: providers, exporters, bounded shutdown, log format."""
