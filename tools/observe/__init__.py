"""Runs the daemon beside a simulated provider, an OpenTelemetry Collector, Prometheus, Jaeger and Grafana, on loopback.

``make observe`` shows the dashboards and traces with data; ``tests/backends`` runs the same programs.
"""
