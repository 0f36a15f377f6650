"""Values of the status for tests: canaries, alerts and runs in a scenario."""
