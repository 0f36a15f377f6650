"""Measures the stream of one attempt: the times between tokens, and the output speed."""

from typing import Final

MIN_SPEED_TOKENS: Final = 4
"""Tokens after the first that an output speed needs at least: fewer measure the network."""
