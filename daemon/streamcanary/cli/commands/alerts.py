"""``streamcanary alerts``: what fires now, who has not heard of it, and which silences there are."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from streamcanary.cli.daemon_client import Unanswered, ask
from streamcanary.model.config_types.secret import printable

_WIDEST = 100  # characters of a cell
_HEADS = ("RECEIVER", "ACTION", "WHAT", "SINCE", "TRIES", "NEXT TRY", "LAST ERROR")


def main(arguments: argparse.Namespace) -> int:
    """Print the alerts of a running daemon; return 0, or 1 if it cannot be asked."""
    try:
        board = ask(arguments, "GET", "/api/v1/incidents")
        silences = ask(arguments, "GET", "/api/v1/silences")["silences"]
        if arguments.json:
            print(json.dumps({**board, "silences": silences}))
            return 0
        lines = [line.rstrip() for line in _lines(_plain(board), _plain(silences))]
    except (Unanswered, KeyError, TypeError, AttributeError) as error:
        print(f"streamcanary: {error if isinstance(error, Unanswered) else 'that is no streamcanary'}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def _plain(value: Any) -> Any:
    """Return what came over the network with its texts as single lines, fit for a terminal."""
    if isinstance(value, str):
        return printable(value, 2000)
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _lines(board: dict[str, Any], silences: Sequence[dict[str, Any]]) -> Iterator[str]:
    by_id = {one["id"]: one for one in silences}
    for one in board["incidents"]:
        yield from _incident(one, by_id)
    if (more := board["firing"] - len(board["incidents"])) > 0:
        yield f"and {more} more that fire"
    for one in silences:
        if one["state"] != "expired":
            yield f"SILENCE {one['id']}  {' '.join(one['match'])}  {one['state']} until {one['until']}  {_told(one)}"
    if not board["incidents"]:
        yield "nothing fires"
    if board["undelivered"]:
        yield f"\nnot delivered: {board['owed']}"
        yield from _table([_HEADS, *map(_row, board["undelivered"])])
        if (more := board["owed"] - len(board["undelivered"])) > 0:
            yield f"and {more} more"


def _incident(one: dict[str, Any], silences: dict[str, dict[str, Any]]) -> Iterator[str]:
    counted = f"  {one['bad']} of {one['total']}" if one["total"] else ""
    since = "" if one["since"] == one["opened"] else f", bad since {one['since']}"
    yield f"FIRING  {one['alert']}  {one['subject']}  fired {one['opened']}{since}{counted}  {one['message']}"
    for name in one["silences"]:
        yield f"        silenced: {name}  {_told(silences.get(name, {}))}"
    if one["muted"] and not one["silences"]:
        yield f"        muted: {one['muted']}"
    if one["bad"] and one["faults"]:
        first = f", {one['first_attempts']} before retries" if one["first_attempts"] else ""
        yield f"        {_counts(one['faults'])}{first}; {one['rescued']} answered by a fallback"
    told = {
        "to be mended by": _counts(one["blames"]),
        "diagnosis": one["diagnosis"],
        "request ids": ", ".join(one["request_ids"]),
        "runbook": one["runbook_url"],
    }
    yield from (f"        {name}: {text}" for name, text in told.items() if text)
    if one["resolves"]:
        yield f"        resolves after {one['resolves']}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _told(silence: dict[str, Any]) -> str:
    return ", ".join(filter(None, (silence.get("by"), silence.get("why"))))


def _row(owed: dict[str, Any]) -> tuple[str, ...]:
    following = "parked" if owed["state"] == "parked" else owed["next_try"] or ""
    tries = "" if owed["tries"] is None else str(owed["tries"])
    cells = (owed["receiver"], owed["action"], owed["title"], owed["since"], tries, following, owed["last_error"] or "")
    return tuple(cell if len(cell) <= _WIDEST else f"{cell[: _WIDEST - 1]}…" for cell in cells)


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
