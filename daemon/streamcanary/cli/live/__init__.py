"""A live view of a daemon on one screen of a terminal."""
