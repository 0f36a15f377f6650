"""The verb ``rules``: prints the rules of a configuration, or those about all daemons, as a Prometheus rule file."""

import argparse
import sys

from streamcanary.alerting.prometheus.fleet_rules import FleetRuleOptions, export_fleet_rules
from streamcanary.alerting.prometheus.rule_export import export_rules
from streamcanary.alerting.prometheus.vantage_rules import export_vantage_rules
from streamcanary.cli.commands.rules.fleet_options import check_needs_fleet, notes, parse_fleet_options
from streamcanary.cli.load_config import UsageError, load_config


def main(arguments: argparse.Namespace) -> int:
    """Print the rule file; return 0, or 2 if the configuration or an argument is invalid."""
    try:
        check_needs_fleet(arguments)
        settings = load_config(arguments.config)
        options = parse_fleet_options(arguments, settings) if arguments.fleet else None
    except UsageError:
        return 2
    except ValueError as error:
        print(f"streamcanary rules: {error}", file=sys.stderr)
        return 2
    for note in notes(options, settings):
        print(f"streamcanary: {note}", file=sys.stderr)
    if options is None:
        text = export_rules(settings.alerts, settings.instance, settings.to_canaries())
    elif isinstance(options, FleetRuleOptions):
        text = export_fleet_rules(options)
    else:
        text = export_vantage_rules(options)
    sys.stdout.write(text)
    return 0
