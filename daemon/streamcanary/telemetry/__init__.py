"""The OpenTelemetry SDK, wired: providers, exporters, bounded shutdown, logs."""
