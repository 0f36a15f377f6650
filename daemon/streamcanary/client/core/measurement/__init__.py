"""Measures the stream of one attempt: the times between tokens, and the output speed."""
