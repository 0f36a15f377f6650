"""Serves the instruments of the daemon to Prometheus: a metric reader, and its text formats."""
