"""Alerting: rules, detectors, incidents, groups, the outbox of notifications, and receivers."""
