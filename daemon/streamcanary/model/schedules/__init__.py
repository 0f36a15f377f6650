"""When a canary is due."""
