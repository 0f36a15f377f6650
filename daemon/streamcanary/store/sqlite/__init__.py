"""The SQLite files of the store: opening, locking, migrating, and the two threads that read and write them."""
