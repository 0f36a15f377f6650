"""SQLite, behind one writer thread: history, incidents, outbox."""
