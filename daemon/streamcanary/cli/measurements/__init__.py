"""Counts and distributions of runs, for the verbs that sum up many of them."""
