"""Values of alerting that other packages read or store: incidents, groups, notifications, silences, matchers."""
