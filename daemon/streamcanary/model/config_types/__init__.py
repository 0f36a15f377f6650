"""Field types of configuration models: durations, fractions, labels, HTTP headers, secrets, and their errors."""
