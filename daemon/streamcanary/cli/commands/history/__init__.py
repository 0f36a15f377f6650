"""The verb that reports on a period, from the store."""
