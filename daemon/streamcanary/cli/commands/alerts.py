"""``streamcanary alerts``: what fires now, who has not heard of it, and which silences there are."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from streamcanary.cli.daemon_client import DaemonRequestError, request_daemon
from streamcanary.model.config_types.secret import printable

_MAX_CELL_WIDTH = 100  # characters of a cell
_COLUMNS = ("RECEIVER", "ACTION", "WHAT", "SINCE", "TRIES", "NEXT TRY", "LAST ERROR")


def main(arguments: argparse.Namespace) -> int:
    """Print the alerts of a running daemon; return 0, or 1 if it cannot be asked."""
    try:
        status = request_daemon(arguments, "GET", "/api/v1/incidents")
        silences = request_daemon(arguments, "GET", "/api/v1/silences")["silences"]
        if arguments.json:
            print(json.dumps({**status, "silences": silences}))
            return 0
        lines = [line.rstrip() for line in _lines(_sanitize(status), _sanitize(silences))]
    except (DaemonRequestError, KeyError, TypeError, AttributeError) as error:
        print(
            f"streamcanary: {error if isinstance(error, DaemonRequestError) else 'that is no streamcanary'}",
            file=sys.stderr,
        )
        return 1
    print("\n".join(lines))
    return 0


def _sanitize(value: Any) -> Any:
    """Return what came over the network with its texts as single lines, fit for a terminal."""
    if isinstance(value, str):
        return printable(value, 2000)
    if isinstance(value, dict):
        return {key: _sanitize(one) for key, one in value.items()}
    return [_sanitize(one) for one in value] if isinstance(value, list) else value


def _lines(status: dict[str, Any], silences: Sequence[dict[str, Any]]) -> Iterator[str]:
    by_id = {one["id"]: one for one in silences}
    for one in status["incidents"]:
        yield from _incident_lines(one, by_id)
    if (more := status["firing"] - len(status["incidents"])) > 0:
        yield f"and {more} more that fire"
    for one in silences:
        if one["state"] != "expired":
            yield f"SILENCE {one['id']}  {' '.join(one['match'])}  {one['state']} until {one['until']}  {_author_and_reason(one)}"
    if not status["incidents"]:
        yield "nothing fires"
    if status["undelivered"]:
        yield f"\nnot delivered: {status['owed']}"
        yield from _format_table([_COLUMNS, *map(_undelivered_row, status["undelivered"])])
        if (more := status["owed"] - len(status["undelivered"])) > 0:
            yield f"and {more} more"


def _incident_lines(one: dict[str, Any], silences: dict[str, dict[str, Any]]) -> Iterator[str]:
    counted = f"  {one['bad']} of {one['total']}" if one["total"] else ""
    since = "" if one["since"] == one["opened"] else f", bad since {one['since']}"
    yield f"FIRING  {one['alert']}  {one['subject']}  fired {one['opened']}{since}{counted}  {one['message']}"
    for name in one["silences"]:
        yield f"        silenced: {name}  {_author_and_reason(silences.get(name, {}))}"
    if one["muted"] and not one["silences"]:
        yield f"        muted: {one['muted']}"
    if one["bad"] and one["faults"]:
        first = f", {one['first_attempts']} before retries" if one["first_attempts"] else ""
        yield f"        {_format_counts(one['faults'])}{first}; {one['rescued']} answered by a fallback"
    details = {
        "to be mended by": _format_counts(one["blames"]),
        "diagnosis": one["diagnosis"],
        "request ids": ", ".join(one["request_ids"]),
        "runbook": one["runbook_url"],
    }
    yield from (f"        {name}: {text}" for name, text in details.items() if text)
    if one["resolves"]:
        yield f"        resolves after {one['resolves']}"


def _format_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _author_and_reason(silence: dict[str, Any]) -> str:
    return ", ".join(filter(None, (silence.get("by"), silence.get("why"))))


def _undelivered_row(undelivered: dict[str, Any]) -> tuple[str, ...]:
    next_attempt = "parked" if undelivered["state"] == "parked" else undelivered["next_try"] or ""
    tries = "" if undelivered["tries"] is None else str(undelivered["tries"])
    cells = (
        undelivered["receiver"],
        undelivered["action"],
        undelivered["title"],
        undelivered["since"],
        tries,
        next_attempt,
        undelivered["last_error"] or "",
    )
    return tuple(cell if len(cell) <= _MAX_CELL_WIDTH else f"{cell[: _MAX_CELL_WIDTH - 1]}…" for cell in cells)


def _format_table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
