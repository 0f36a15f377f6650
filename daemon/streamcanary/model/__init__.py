"""Immutable values that several packages share: faults, outcomes, canaries, alerts, schedules, names."""
