"""The command line: parsing of arguments and printing. Each verb has a module in ``commands/``."""
