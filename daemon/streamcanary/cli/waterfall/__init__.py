"""Draws the spans of a run as a waterfall in the terminal."""
