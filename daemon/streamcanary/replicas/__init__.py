"""Replicas that share a database: each owns some shards of the canaries, and one of them the alerts."""
