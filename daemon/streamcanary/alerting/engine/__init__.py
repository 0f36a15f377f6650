"""The alert engine: a pure step from a state and an input to the next state and the rows to store."""
