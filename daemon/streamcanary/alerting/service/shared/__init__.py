"""Alerting of several replicas that share a database: one of them, the owner of its lease, evaluates and notifies."""
