"""The verbs that run until they are stopped."""
