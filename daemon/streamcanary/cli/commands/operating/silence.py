"""The verb ``silence``: creates a silence in a running daemon."""

import argparse
import getpass
import sys

from streamcanary.cli.daemon_client import UNEXPECTED_ANSWER, DaemonRequestError, request_daemon


def main(arguments: argparse.Namespace) -> int:
    """Create a silence in a running daemon and print its id; return 0, or 1 on failure."""
    body = {"match": arguments.match, "for": arguments.length, "by": arguments.by or _user_name(), "why": arguments.why}
    try:
        silence = request_daemon(arguments, "POST", "/api/v1/silences", body)
        print(silence["id"])
        print(f"silenced until {silence['until']}", file=sys.stderr)
    except (DaemonRequestError, KeyError, TypeError) as error:
        reason = error if isinstance(error, DaemonRequestError) else f"{arguments.url}: {UNEXPECTED_ANSWER}"
        print(f"streamcanary: {reason}", file=sys.stderr)
        return 1
    return 0


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the user of a container often has no name
        return ""
