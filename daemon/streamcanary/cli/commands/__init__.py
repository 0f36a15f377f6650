"""One module a verb: main(arguments) returns the exit code."""
