"""``streamcanary alerts``: what fires now, and which silences there are."""

import argparse
import json
import sys

from streamcanary.cli.remote import Unanswered, ask


def main(arguments: argparse.Namespace) -> int:
    """Print the alerts of a running daemon; return 0, or 1 if it cannot be asked."""
    try:
        incidents = ask(arguments, "GET", "/api/v1/incidents")["incidents"]
        silences = ask(arguments, "GET", "/api/v1/silences")["silences"]
    except (Unanswered, KeyError, TypeError) as error:
        print(f"streamcanary: {error if isinstance(error, Unanswered) else 'that is no streamcanary'}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps({"incidents": incidents, "silences": silences}))
        return 0
    for one in incidents:
        counted = f"  {one['bad']} of {one['total']}" if one["total"] else ""
        print(f"FIRING  {one['alert']}  {one['subject']}  since {one['opened']}{counted}  {one['message']}".rstrip())
        if one["diagnosis"]:
            print(f"        diagnosis: {one['diagnosis']}")
        if one["resolves"]:
            print(f"        resolves after {one['resolves']}")
    for one in silences:
        if one["state"] != "expired":
            told = ", ".join(filter(None, (one["by"], one["why"])))
            print(
                f"SILENCE {one['id']}  {' '.join(one['match'])}  {one['state']} until {one['until']}  {told}".rstrip()
            )
    if not incidents:
        print("nothing fires")
    return 0
