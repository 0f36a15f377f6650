"""The verb ``rules``: prints the rules of a configuration as a Prometheus rule file."""

import argparse
import sys

from streamcanary.alerting.prometheus.rule_export import export_rules
from streamcanary.cli.load_config import UsageError, load_config


def main(arguments: argparse.Namespace) -> int:
    """Print the rule file; return 0, or 2 if the configuration is invalid."""
    try:
        settings = load_config(arguments.config)
    except UsageError:
        return 2
    sys.stdout.write(export_rules(settings.alerts, settings.instance, settings.to_canaries()))
    return 0
