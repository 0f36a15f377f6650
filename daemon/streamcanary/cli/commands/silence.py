"""``streamcanary silence``: mute alerts for a while."""

import argparse
import getpass
import sys

from streamcanary.cli.daemon_client import DaemonRequestError, request_daemon


def main(arguments: argparse.Namespace) -> int:
    """Make a silence in a running daemon and print its id; return 0, or 1 if it is not made."""
    body = {"match": arguments.match, "for": arguments.length, "by": arguments.by or _user_name(), "why": arguments.why}
    try:
        made = request_daemon(arguments, "POST", "/api/v1/silences", body)
        print(made["id"])
        print(f"silent until {made['until']}", file=sys.stderr)
    except (DaemonRequestError, KeyError, TypeError) as error:
        print(
            f"streamcanary: {error if isinstance(error, DaemonRequestError) else 'that is no streamcanary'}",
            file=sys.stderr,
        )
        return 1
    return 0


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        return ""
