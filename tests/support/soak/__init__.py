"""The soak: a day of many replicas in simulated time, in which everything fails that can fail."""
