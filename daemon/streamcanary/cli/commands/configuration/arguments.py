"""The arguments of the verbs ``init``, ``check``, ``notify``, ``schema``, ``dashboard``."""

import argparse
from pathlib import Path

from streamcanary.cli.completion import complete_receiver
from streamcanary.cli.verb import Verb, add_config_option, with_completer


def _add_init_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        default=Path("streamcanary.yaml"),
        metavar="FILE",
        help="File to write.",
    )
    parser.add_argument(
        "--base-url",
        metavar="URL",
        help="Endpoint: its address, or openai, openrouter, litellm, vllm, ollama or llama-cpp.",
    )
    parser.add_argument("--model", metavar="NAME", help="Model of the endpoint.")
    parser.add_argument(
        "--receiver",
        metavar="RECEIVER",
        help="Who is notified: pagerduty, slack, webhook, alertmanager=URL,URL or none.",
    )
    parser.add_argument(
        "--api-key-file",
        metavar="FILE",
        help="File with the API key, relative to the folder of the configuration. Default: a variable.",
    )
    parser.add_argument(
        "--yes", action="store_true", help="Ask nothing; take the defaults for options that are missing."
    )
    parser.add_argument(
        "--online",
        action="store_true",
        help="Then check each step to the endpoint, up to its list of models; a failed one is exit code 1.",
    )
    parser.add_argument("--force", action="store_true", help="Overwrite the file if it exists.")


def _add_check_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_option(parser)
    parser.add_argument(
        "--base-rate",
        default="2%",
        metavar="RATE",
        help="Share of runs that fail without an outage, for the forecast of false pages. A spike rule uses its "
        "normal instead. Default: 2%%.",
    )
    parser.add_argument(
        "--enforce-budget",
        action="store_true",
        help="Exit code 1 if the schedule of the canaries needs more than the budget, which otherwise is a warning.",
    )
    parser.add_argument("--all", action="store_true", help="List all canaries, not only the first 50.")
    parser.add_argument(
        "--shapes",
        action="store_true",
        help="Simulate eight outages, of all canaries or some, sudden, in bursts and slow. Print how soon each rule "
        "detects them, which rule is first, and the false pages of all rules in a year.",
    )
    parser.add_argument(
        "--shape",
        action="append",
        metavar="TEXT",
        help="Simulate this outage: RATE, TIME of RATE, TIME of RATE every TIME, or RATE to RATE in TIME; then on all "
        "(default), half, a share such as 25%%, one, one of 8, or one model, target, provider or LABEL. For "
        "example: '60s of 100%% every 5m on half'. Repeatable; with --shapes, besides the eight.",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="Draw these times as a picture, SVG, to FILE. An existing file is overwritten.",
    )


def _add_notify_arguments(parser: argparse.ArgumentParser) -> None:
    with_completer(
        parser.add_argument("receiver", metavar="RECEIVER", help="Name of a receiver in alerts.receivers."),
        complete_receiver,
    )
    add_config_option(parser)


def _add_dashboard_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="Name of a dashboard, such as overview.")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="Write NAME.json to a folder instead, or without a name all dashboards.",
    )


VERBS = (
    Verb(
        name="init",
        module="streamcanary.cli.commands.configuration.init",
        help="Write a first configuration",
        description="Ask for endpoint, model and receiver, and write a configuration that works. Secrets are not asked "
        "for: the file names variables of the environment. Without --online, nothing is sent.",
        examples=(
            "streamcanary init",
            "streamcanary init --base-url ollama --model llama3.2 --receiver slack",
            "streamcanary init prod.yaml --base-url https://llm.example/v1 --model chat-large --receiver alertmanager=http://alertmanager:9093",
        ),
        add_arguments=_add_init_arguments,
    ),
    Verb(
        name="check",
        module="streamcanary.cli.commands.configuration.check",
        help="Check a configuration",
        description="Check a configuration. Print its canaries and receivers, and for each rule the detection delay, "
        "the false pages and the time to resolve. Exit code 2 if the configuration is invalid.",
        examples=(
            "streamcanary check -c config/streamcanary.yaml",
            "streamcanary check -c config/streamcanary.yaml --enforce-budget",
            "streamcanary check -c config/streamcanary.yaml --shapes --plot outages.svg",
            "streamcanary check -c config/streamcanary.yaml --shape '60s of 100% every 5m on half'",
        ),
        add_arguments=_add_check_arguments,
    ),
    Verb(
        name="notify",
        module="streamcanary.cli.commands.configuration.notify",
        help="Send a test notification and its resolve",
        description="Send a test notification and its resolve to a receiver, and print the answers. Exit code 0 if the "
        "receiver accepts both, 1 if not, 2 if the receiver cannot be used.",
        examples=("streamcanary notify alertmanager -c config/streamcanary.yaml",),
        add_arguments=_add_notify_arguments,
    ),
    Verb(
        name="schema",
        module="streamcanary.cli.commands.configuration.schema",
        help="Print the JSON Schema of the configuration",
        description="Print the JSON Schema (draft-07) of a configuration file, with which editors complete keys, show "
        "their descriptions and mark errors. check finds more: a schema cannot compare values.",
        examples=("streamcanary schema > streamcanary.schema.json",),
    ),
    Verb(
        name="dashboard",
        module="streamcanary.cli.commands.configuration.dashboard",
        help="Print a Grafana dashboard",
        description="Print a Grafana dashboard as JSON, for Grafana's import or provisioning. Without a name, list the "
        "dashboards. Their data source is a Prometheus with the metrics of the daemon, scraped or received over OTLP.",
        examples=(
            "streamcanary dashboard overview > overview.json",
            "streamcanary dashboard --output /var/lib/grafana/dashboards",
        ),
        add_arguments=_add_dashboard_arguments,
    ),
)
