"""The verb ``completion``: prints the script with which a shell asks this program for completions."""

import argparse
import sys


def main(arguments: argparse.Namespace) -> int:
    """Print the script; return 0."""
    from argcomplete.shell_integration import shellcode

    sys.stdout.write(shellcode(["streamcanary"], shell=arguments.shell))
    return 0
