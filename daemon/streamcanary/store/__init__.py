"""The store of the daemon, a SQLite database with one writer thread: history, incidents, outbox, silences, spend."""
