"""Scheduled canary runs: what to ask, when, and what became of it."""
