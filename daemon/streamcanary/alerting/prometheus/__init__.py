"""Export of the rules as a Prometheus rule file."""
