"""``streamcanary unsilence``: end silences before their time."""

import argparse
import sys
from urllib.parse import quote

from streamcanary.cli.daemon_client import DaemonRequestError, request_daemon


def main(arguments: argparse.Namespace) -> int:
    """End silences in a running daemon; return 0, or 1 if one of them is not ended."""
    code = 0
    for name in arguments.ids:
        try:
            request_daemon(arguments, "DELETE", f"/api/v1/silences/{quote(name, safe='')}")
        except DaemonRequestError as error:
            print(f"streamcanary: {error}", file=sys.stderr)
            code = 1
    return code
