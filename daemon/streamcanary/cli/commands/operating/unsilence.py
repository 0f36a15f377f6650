"""The verb ``unsilence``: ends silences of a running daemon before they expire."""

import argparse
import sys
from urllib.parse import quote

from streamcanary.cli.daemon_client import DaemonRequestError, request_daemon


def main(arguments: argparse.Namespace) -> int:
    """End silences of a running daemon; return 0, or 1 if any fails."""
    code = 0
    for name in arguments.ids:
        try:
            request_daemon(arguments, "DELETE", f"/api/v1/silences/{quote(name, safe='')}")
        except DaemonRequestError as error:
            print(f"streamcanary: {error}", file=sys.stderr)
            code = 1
    return code
