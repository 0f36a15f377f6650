"""The arguments of the verb ``report``."""

import argparse
from pathlib import Path

from streamcanary.cli.verb import Verb, add_config_option, add_database_option


def _add_report_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_option(
        parser, required=False, help="Configuration file, YAML: its store, and only its canaries, in its order."
    )
    add_database_option(parser)
    parser.add_argument(
        "--since",
        default="7d",
        metavar="TIME",
        help="Start of the period: 2027-01-15T08:00:00Z, or 7d for a week ago; at most 35 days. Runs are summed up by "
        "hour, and by quarter of a day before the last two days: the period begins with such a part. Default: 7d.",
    )
    parser.add_argument(
        "--format", choices=("markdown", "html", "json"), default="markdown", help="Format. Default: markdown."
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="Write the report to FILE instead of stdout.")


VERBS = (
    Verb(
        name="report",
        module="streamcanary.cli.commands.history.report",
        help="Report availability and incidents of a period",
        description="Report on a period from the recorded runs: for each canary its availability, the error rate "
        "before and after retries, percentiles, faults and spend, and the incidents with their durations. A daemon "
        "may have the database open.",
        examples=(
            "streamcanary report -c config/streamcanary.yaml --since 30d",
            "streamcanary report --db /var/lib/streamcanary/streamcanary.db --format html --output report.html",
        ),
        add_arguments=_add_report_arguments,
    ),
)
