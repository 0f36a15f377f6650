"""Exports traces, metrics and logs over OTLP, counts what is lost, and reads what was rejected."""
