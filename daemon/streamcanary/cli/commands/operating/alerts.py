"""The verb ``alerts``: lists firing alerts, silences and undelivered notifications of a running daemon."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from streamcanary.cli.daemon_client import UNEXPECTED_ANSWER, DaemonRequestError, request_daemon
from streamcanary.cli.table import format_table
from streamcanary.model.fault_words import fault_words
from streamcanary.model.redaction.printable import printable

_MAX_CANARIES = 20  # failing canaries that are named
_MAX_CELL_WIDTH = 100  # characters of a cell
_COLUMNS = ("RECEIVER", "ACTION", "NOTIFICATION", "SINCE", "ATTEMPTS", "NEXT ATTEMPT", "LAST ERROR")


def main(arguments: argparse.Namespace) -> int:
    """Print the alerts of a running daemon; return 0, or 1 if it cannot be reached."""
    try:
        status = request_daemon(arguments, "GET", "/api/v1/incidents")
        silences = request_daemon(arguments, "GET", "/api/v1/silences")["silences"]
        if arguments.json:
            print(json.dumps({**status, "silences": silences}))
            return 0
        status = _sanitize(status)
        lines = list(_lines(status, _sanitize(silences)))
        lines += _baseline_lines(status, list_all=arguments.learned)
    except (DaemonRequestError, KeyError, TypeError, AttributeError) as error:
        reason = error if isinstance(error, DaemonRequestError) else f"{arguments.url}: {UNEXPECTED_ANSWER}"
        print(f"streamcanary: {reason}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def _sanitize(value: Any) -> Any:
    """Return a JSON value with its texts as single lines without control characters."""
    if isinstance(value, str):
        return printable(value, 2000)
    if isinstance(value, dict):
        return {key: _sanitize(one) for key, one in value.items()}
    return [_sanitize(one) for one in value] if isinstance(value, list) else value


def _lines(status: dict[str, Any], silences: Sequence[dict[str, Any]]) -> Iterator[str]:
    by_id = {silence["id"]: silence for silence in silences}
    firing = status["firing"]
    yield f"{firing} alert{'' if firing == 1 else 's'} firing" if status["incidents"] else "no alert is firing"
    for incident in status["incidents"]:
        yield from _incident_lines(incident, by_id)
    if (more := firing - len(status["incidents"])) > 0:
        yield f"and {more} more firing"
    for silence in silences:
        if silence["state"] != "expired":
            yield _silence_line(silence)
    if status["undelivered"]:
        yield f"\nundelivered notifications: {status['owed']}"
        yield from format_table([_COLUMNS, *map(_undelivered_row, status["undelivered"])])
        if (more := status["owed"] - len(status["undelivered"])) > 0:
            yield f"and {more} more"


def _silence_line(silence: dict[str, Any]) -> str:
    state = f"{silence['state']} until {silence['until']}"
    return f"SILENCE {silence['id']}  {' '.join(silence['match'])}  {state}  {_author_and_reason(silence)}".rstrip()


def _incident_lines(incident: dict[str, Any], silences: dict[str, dict[str, Any]]) -> Iterator[str]:
    counts = f"  {incident['bad']} of {incident['total']}" if incident["total"] else ""
    since = "" if incident["since"] == incident["opened"] else f", failing since {incident['since']}"
    subject = f"{incident['alert']}  {incident['subject']}"
    yield f"FIRING  {subject}  fired {incident['opened']}{since}{counts}  {incident['message']}".rstrip()
    for name in incident["silences"]:
        yield f"        silenced by: {name}  {_author_and_reason(silences.get(name, {}))}".rstrip()
    if incident["muted"] and not incident["silences"]:
        yield f"        muted: {incident['muted']}"
    if incident["bad"] and incident["faults"]:
        first = f", {incident['first_attempts']} before retries" if incident["first_attempts"] else ""
        faults = _format_counts({fault_words(kind): count for kind, count in incident["faults"].items()})
        yield f"        faults: {faults}{first}; {incident['rescued']} answered by a fallback"
    details = {
        "failing canaries": _failing_text(incident),
        "unaffected": _with_rest(incident.get("unaffected", ()), incident.get("unaffected_count", 0)),
        "blame": _format_counts(incident["blames"]),
        "diagnosis": incident["diagnosis"],
        "request ids": ", ".join(incident["request_ids"]),
        "traces": ", ".join(incident["trace_ids"]),
        "runbook": incident["runbook_url"],
    }
    yield from (f"        {name}: {text}" for name, text in details.items() if text)
    if incident["resolves"]:
        yield f"        resolves after {incident['resolves']}"


def _baseline_lines(status: dict[str, Any], *, list_all: bool) -> Iterator[str]:
    """Yield what was learned from recorded runs, or how much of it."""
    baselines, count = status.get("baselines", []), status.get("baseline_count", 0)  # an older daemon has none
    if not count:
        return
    if not list_all:
        known = sum(one["learned"] is not None for one in baselines)
        yield f"learned what is normal for {known} of {count} alerts; list it with --learned"
        return
    rows = [("ALERT", "SUBJECT", "LEARNED", "NORMAL")]
    rows += [(one["alert"], one["subject"], one["learned"] or "not yet", one["text"]) for one in baselines]
    yield ""
    yield from format_table(rows)
    if (more := count - len(baselines)) > 0:
        yield f"and {more} more"


def _failing_text(incident: dict[str, Any]) -> str:
    """Return which canaries of a pooled alert fail; empty for another alert."""
    shown = incident.get("failing", ())[:_MAX_CANARIES]  # an older daemon has none
    names = [f"{one['canary']} ({one['bad']} of {one['total']} runs)" for one in shown]
    if not names:
        return ""
    return f"{incident['failing_count']} of {incident['members']}: {_with_rest(names, incident['failing_count'])}"


def _with_rest(names: Sequence[str], count: int) -> str:
    rest = count - len(names)
    return ", ".join(names) + (f" and {rest} more" if rest > 0 else "")


def _format_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _author_and_reason(silence: dict[str, Any]) -> str:
    return ", ".join(filter(None, (silence.get("by"), silence.get("why"))))


def _undelivered_row(undelivered: dict[str, Any]) -> tuple[str, ...]:
    next_attempt = "parked" if undelivered["state"] == "parked" else undelivered["next_try"] or ""
    attempts = "" if undelivered["tries"] is None else str(undelivered["tries"])
    cells = (
        undelivered["receiver"],
        undelivered["action"],
        undelivered["title"],
        undelivered["since"],
        attempts,
        next_attempt,
        undelivered["last_error"] or "",
    )
    return tuple(cell if len(cell) <= _MAX_CELL_WIDTH else f"{cell[: _MAX_CELL_WIDTH - 1]}…" for cell in cells)
