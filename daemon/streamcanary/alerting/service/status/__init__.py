"""What operators see of alerting: open incidents, their history, detectors, receivers, silences and maintenance."""
