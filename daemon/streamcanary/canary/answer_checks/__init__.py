"""Checks of what a canary gets: its text, whether it repeats itself, and whether it is only reasoning."""
