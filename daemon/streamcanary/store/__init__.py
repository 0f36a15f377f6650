"""The store of the daemon, in SQLite or PostgreSQL: history, incidents, outbox, silences, spend."""
