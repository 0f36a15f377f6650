"""Keeps finished runs as span trees in memory, so that there are traces without a tracing backend."""
