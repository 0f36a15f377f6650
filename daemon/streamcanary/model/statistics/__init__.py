"""Runs summed up by period, with the distributions of their values."""
