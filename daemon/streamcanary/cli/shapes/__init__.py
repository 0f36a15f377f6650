"""Prints and draws how soon rules notice outages of given shapes, for ``check``."""
