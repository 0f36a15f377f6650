"""What replicas share in the database: leases with fencing, runs, inputs of alerting, and spend."""
