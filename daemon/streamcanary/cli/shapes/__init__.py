"""Prints and draws how soon rules detect outages of given shapes, for ``check``."""
