"""The verbs that test, replay and export rules."""
