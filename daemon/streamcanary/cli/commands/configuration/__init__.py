"""The verbs that write and check a configuration, and what goes with it."""
