"""The arguments of the verb ``probe``."""

import argparse
from pathlib import Path

from streamcanary.cli.completion import complete_canary
from streamcanary.cli.verb import Verb, add_config_option, with_completer


def _add_probe_arguments(parser: argparse.ArgumentParser) -> None:
    with_completer(
        parser.add_argument(
            "canaries", nargs="*", metavar="CANARY", help="Names from the configuration. Default: all."
        ),
        complete_canary,
    )
    add_config_option(parser, required=False)
    parser.add_argument("--base-url", metavar="URL", help="Address of an endpoint, such as https://api.openai.com/v1.")
    parser.add_argument("--model", metavar="NAME", help="Model of the endpoint.")
    parser.add_argument("--prompt", metavar="TEXT", help="Prompt. By default it asks for the word pong.")
    parser.add_argument(
        "--api-key-file", type=Path, metavar="FILE", help="File with the API key. Default: the variable OPENAI_API_KEY."
    )
    parser.add_argument(
        "--diagnose",
        action="store_true",
        help="Before each run, check each step to the endpoint: key, address, DNS, TCP, proxy, TLS, GET /models, "
        "model. The run and the exit code do not change.",
    )
    parser.add_argument(
        "--trace", action="store_true", help="After each run, print its waterfall, as the verb trace does."
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="Print only one JSON object for each run. With --diagnose, print a line before each: "
        '{"canary": ..., "diagnosis": ...}; with --trace, a line after each: {"run": ..., "root": ...}; with --repeat '
        'or --require, a line for each canary at the end: {"canary": ..., "summary": ...}',
    )
    _add_series_arguments(parser)
    _add_report_arguments(parser)


def _add_series_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repeat",
        type=int,
        default=1,
        metavar="N",
        help="Run each canary N times, at most 1000, and print percentiles, a histogram and the faults. It stops when "
        "the runs have cost budget.usd_per_day of the configuration. Ctrl-C prints what was measured so far. "
        "Default: 1.",
    )
    parser.add_argument("--parallel", type=int, default=1, metavar="K", help="Run K at once, at most 50. Default: 1.")
    parser.add_argument(
        "--fail-on",
        choices=("slow", "failed_over", "failed", "never"),
        default="failed_over",
        help="The least bad outcome that makes the exit code 1: over its slo, answered by a fallback only, or not "
        "answered. Default: failed_over.",
    )
    parser.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="TEXT",
        help="Exit code 1 unless each canary meets this: MEASURE PERCENTILE <= LIMIT, such as 'first_token p95 <= 2s', "
        "of first_token, duration, max_gap or tokens_per_second: so many runs are as good or better; or "
        "'errors <= 5%%', which allows single failures, or 'first_attempts <= 10%%', before retries. Repeatable.",
    )


def _add_report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--junit", type=Path, metavar="FILE", help="Write the runs as JUnit XML to FILE.")
    parser.add_argument(
        "--markdown",
        nargs="?",
        const="-",
        metavar="FILE",
        help="Write a summary as Markdown to FILE, or print it instead of anything else.",
    )


VERBS = (
    Verb(
        name="probe",
        module="streamcanary.cli.commands.probing.probe",
        help="Run canaries, once or many times",
        description="Run canaries of a configuration, or probe any endpoint. Print the tokens as they arrive, then "
        "attempts and timings; with --repeat, percentiles, a histogram and the faults. Exit code 0 if all are ok or "
        "slow and meet what --fail-on and --require say, 1 if not, 2 if the configuration is invalid.",
        examples=(
            "streamcanary probe -c config/streamcanary.yaml",
            "streamcanary probe chat-mini -c config/streamcanary.yaml --diagnose",
            "streamcanary probe chat-mini -c config/streamcanary.yaml --trace",
            "streamcanary probe chat-mini -c config/streamcanary.yaml --repeat 50 --parallel 5",
            "streamcanary probe -c config/streamcanary.yaml --repeat 20 --require 'first_token p95 <= 2s'",
            "streamcanary probe -c config/streamcanary.yaml --repeat 20 --junit probe.xml --markdown probe.md",
            "streamcanary probe --base-url https://api.openai.com/v1 --model gpt-4o-mini --json",
        ),
        add_arguments=_add_probe_arguments,
    ),
)
