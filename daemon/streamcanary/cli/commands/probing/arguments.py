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
        '{"canary": ..., "diagnosis": ...}; with --trace, a line after each: {"run": ..., "root": ...}',
    )


VERBS = (
    Verb(
        name="probe",
        module="streamcanary.cli.commands.probing.probe",
        help="Run canaries once",
        description="Run canaries of a configuration once, or probe any endpoint. Print the tokens as they arrive, "
        "then attempts and timings. Exit code 0 if all are ok or slow, 1 if not, 2 if the configuration is invalid.",
        examples=(
            "streamcanary probe -c config/streamcanary.yaml",
            "streamcanary probe chat-mini -c config/streamcanary.yaml --diagnose",
            "streamcanary probe chat-mini -c config/streamcanary.yaml --trace",
            "streamcanary probe --base-url https://api.openai.com/v1 --model gpt-4o-mini --json",
        ),
        add_arguments=_add_probe_arguments,
    ),
)
