"""When canaries run: due times, overlaps, limits of runs at once, and what is skipped."""
