"""Scheduled canary runs: configuration, schedule, execution and outcomes."""
