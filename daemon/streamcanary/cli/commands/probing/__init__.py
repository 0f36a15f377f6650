"""The verb that runs canaries without a daemon."""
