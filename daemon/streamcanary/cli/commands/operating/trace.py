"""The verb ``trace``: prints the waterfall of a run that a running daemon keeps."""

import argparse
import json
import re
import sys
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from streamcanary.cli.daemon_client import UNEXPECTED_ANSWER, DaemonRequestError, request_daemon
from streamcanary.cli.waterfall.render import render_trace
from streamcanary.cli.waterfall.terminal_style import style_of_stdout
from streamcanary.model.redaction.printable import printable
from streamcanary.model.run_trace import RunTrace

_RUNS = "/api/v1/runs"
_ID = re.compile(r"[0-9a-fA-F]{32}")
_FAILED = "failed,failed_over,internal_error"
_GOOD = "ok,slow"
_NOT_FOUND = 404


class _RunNotKept(Exception):
    """The daemon keeps no such run; the text says which ones there are."""


def main(arguments: argparse.Namespace) -> int:
    """Print a run; return 0, 1 if there is none or the daemon cannot be reached, 2 for invalid arguments."""
    is_id = _ID.fullmatch(arguments.run) is not None
    if is_id and arguments.last_ok:
        print("streamcanary: --last-ok needs the name of a canary, not the id of a run", file=sys.stderr)
        return 2
    try:
        document = (_by_id(arguments) if is_id else None) or _last_of_canary(arguments)
        trace = msgspec.convert(document, RunTrace)
        if arguments.json:
            print(json.dumps(document))
        else:
            print("\n".join(render_trace(trace, style_of_stdout())))
    except (msgspec.ValidationError, KeyError, TypeError, IndexError, RecursionError):
        print(f"streamcanary: {arguments.url}: {UNEXPECTED_ANSWER}", file=sys.stderr)
        return 1
    except (DaemonRequestError, _RunNotKept) as error:
        print(f"streamcanary: {error}", file=sys.stderr)
        return 1
    return 0


def _by_id(arguments: argparse.Namespace) -> Any:
    """Return the run with this id, or ``None`` if there is none: a canary may have such a name."""
    try:
        return request_daemon(arguments, "GET", f"{_RUNS}/{quote(arguments.run, safe='')}")
    except DaemonRequestError as error:
        if error.status != _NOT_FOUND or not _list(arguments, canary=arguments.run):
            raise
        return None


def _last_of_canary(arguments: argparse.Namespace) -> Any:
    try:
        return _find_last(arguments)
    except DaemonRequestError as error:
        if error.status != _NOT_FOUND:
            raise
    return _find_last(arguments)  # a newer run has replaced it between the two requests


def _find_last(arguments: argparse.Namespace) -> Any:
    found = _list(arguments, canary=arguments.run, outcome=_GOOD if arguments.last_ok else _FAILED)
    if not found:
        raise _RunNotKept(_explain_absence(arguments))
    return request_daemon(arguments, "GET", f"{_RUNS}/{quote(found[0]['run_id'], safe='')}")


def _explain_absence(arguments: argparse.Namespace) -> str:
    name = printable(arguments.run, 100)
    page = _page(arguments, canary=arguments.run)
    if kept_by := printable(str(page.get("kept_by", "")), 200):
        kind = "good" if arguments.last_ok else "failed"
        return f"no {kind} run of {name} is kept at this replica; the replica {kept_by} runs it: ask it with --url"
    if page["runs"]:
        if arguments.last_ok:
            return f"no good run of {name} is kept; without --last-ok, the last failed one is printed"
        return f"no failed run of {name} is kept; --last-ok prints the last good one"
    canaries = sorted({printable(str(run["canary"]), 100) for run in _list(arguments, limit="500")})
    known = f"there are runs of {', '.join(canaries[:20])}" if canaries else "no run has ended yet"
    return f"no run of {name} is kept; {known}"


def _list(arguments: argparse.Namespace, **parameters: str) -> list[dict[str, Any]]:
    """Return kept runs, the latest first; one, unless ``limit`` says otherwise."""
    runs: list[dict[str, Any]] = _page(arguments, **parameters)["runs"]
    return runs


def _page(arguments: argparse.Namespace, **parameters: str) -> dict[str, Any]:
    page: dict[str, Any] = request_daemon(arguments, "GET", f"{_RUNS}?{urlencode({'limit': '1', **parameters})}")
    return page
