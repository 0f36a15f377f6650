"""The verb that makes a shell complete the command line."""
