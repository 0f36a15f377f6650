"""Learns from recorded runs what is normal for a binding: its base rate of bad samples, and its usual times."""
