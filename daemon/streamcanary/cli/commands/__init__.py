"""One module for each verb, with a function ``main(arguments)`` that returns the exit code."""
