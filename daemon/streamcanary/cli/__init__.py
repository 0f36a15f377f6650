"""One module a verb: arguments and printing, no logic."""
