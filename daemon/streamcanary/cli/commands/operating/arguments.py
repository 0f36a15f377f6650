"""The arguments of the verbs ``alerts``, ``trace``, ``silence``, ``unsilence``."""

import argparse
from pathlib import Path

from streamcanary.cli.completion import complete_canary
from streamcanary.cli.verb import Verb, add_daemon_options, with_completer


def _add_alerts_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    parser.add_argument("--learned", action="store_true", help="List what rules have learned from recorded runs.")
    add_daemon_options(parser)


def _add_trace_arguments(parser: argparse.ArgumentParser) -> None:
    with_completer(
        parser.add_argument(
            "run", metavar="RUN", help="Run id or trace id of a run, or the name of a canary: its last failed run."
        ),
        complete_canary,
    )
    parser.add_argument("--last-ok", action="store_true", help="Print the last good run of the canary.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object, as GET /api/v1/runs/ID returns it.")
    add_daemon_options(parser)


def _add_silence_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "match", nargs="+", metavar="MATCHER", help="Matcher, such as 'canary=\"chat\"' or 'tier=~\"prod|test\"'."
    )
    parser.add_argument("--for", dest="length", required=True, metavar="TIME", help="Duration, such as 30m or 2h.")
    parser.add_argument("--why", default="", metavar="TEXT", help="Reason, shown with the silence.")
    parser.add_argument("--by", default="", metavar="NAME", help="Author of the silence. Default: the current user.")
    add_daemon_options(parser)


def _add_unsilence_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", metavar="ID", help="Id of a silence, as printed by silence and alerts.")
    add_daemon_options(parser)


def _add_top_arguments(parser: argparse.ArgumentParser) -> None:
    add_daemon_options(parser)
    parser.add_argument(
        "--interval", default="2s", metavar="TIME", help="Time between two requests, at least 1s. Default: 2s."
    )


def _add_mcp_arguments(parser: argparse.ArgumentParser) -> None:
    add_daemon_options(parser)
    parser.add_argument(
        "--allow-probe",
        type=Path,
        metavar="FILE",
        help="Let the agent run the canaries of this configuration, which may cost money; no other endpoint.",
    )
    parser.add_argument(
        "--allow-silence", action="store_true", help="Let the agent create silences of up to a day, and end silences."
    )
    parser.add_argument(
        "--http", type=int, metavar="PORT", help="Serve on this port of loopback instead of stdin and stdout."
    )


VERBS = (
    Verb(
        name="mcp",
        module="streamcanary.cli.commands.operating.mcp",
        help="Serve a running daemon to agents (MCP)",
        description="Serve a running daemon by the Model Context Protocol on stdin and stdout: status, canaries, "
        "incidents, runs with their waterfalls, silences. Read-only unless allowed. Needs streamcanary[mcp].",
        examples=(
            "streamcanary mcp --url http://127.0.0.1:9465",
            "streamcanary mcp --allow-probe streamcanary.yaml --allow-silence",
        ),
        add_arguments=_add_mcp_arguments,
    ),
    Verb(
        name="top",
        module="streamcanary.cli.commands.operating.top",
        help="Show a live view of a running daemon",
        description="Show a running daemon on one screen: what is broken, its canaries with their last runs, and what "
        "fires. A daemon that cannot be reached is asked again. Without a terminal, print the view once. q ends it.",
        examples=(
            "streamcanary top",
            "streamcanary top --url https://canary.example --token-file token",
        ),
        add_arguments=_add_top_arguments,
    ),
    Verb(
        name="alerts",
        module="streamcanary.cli.commands.operating.alerts",
        help="List firing alerts",
        description="List the firing alerts of a running daemon, its silences, and the notifications that are not "
        "delivered.",
        examples=("streamcanary alerts --json",),
        add_arguments=_add_alerts_arguments,
    ),
    Verb(
        name="trace",
        module="streamcanary.cli.commands.operating.trace",
        help="Show a run as a waterfall",
        description="Print a run of a running daemon as a waterfall: its attempts with their phases, the waits between "
        "them, and the faults. The daemon keeps the last good run and the latest failed runs of each canary in memory. "
        "Of several replicas, the one that made the run keeps it; another one says which that is.",
        examples=(
            "streamcanary trace chat-mini",
            "streamcanary trace chat-mini --last-ok",
            "streamcanary trace 4bf92f3577b34da6a3ce929d0e0e4736 --json",
        ),
        add_arguments=_add_trace_arguments,
    ),
    Verb(
        name="silence",
        module="streamcanary.cli.commands.operating.silence",
        help="Silence alerts for a time",
        description="Silence the alerts of a running daemon that match all matchers. A receiver that was notified of "
        "an alert still gets its resolve. An alert that fires when the silence ends is sent then. Print the id of the "
        "silence.",
        examples=('streamcanary silence \'canary="chat-mini"\' --for 2h --why "deployment"',),
        add_arguments=_add_silence_arguments,
    ),
    Verb(
        name="unsilence",
        module="streamcanary.cli.commands.operating.unsilence",
        help="End silences",
        description="End silences of a running daemon before they expire.",
        examples=("streamcanary unsilence 4f1c2a9b7d30",),
        add_arguments=_add_unsilence_arguments,
    ),
)
