"""Values that cross rooms, and nothing else."""
