"""``streamcanary check``: whether a configuration is good, and what it watches."""

import argparse
import sys

from streamcanary.cli.config import Unusable, read_config
from streamcanary.model.duration import format_duration
from streamcanary.model.faults import Blame
from streamcanary.settings import Settings


def main(arguments: argparse.Namespace) -> int:
    """Validate a configuration; return 0 if it is good, with or without warnings, 2 if not."""
    try:
        settings = read_config(arguments.config)
    except Unusable:
        return 2
    for line in _describe(settings):
        print(line)
    for line in _warnings(settings):
        print(f"warning: {line}", file=sys.stderr)
    return 0


def _warnings(settings: Settings) -> list[str]:
    """Return what is no mistake, and may be meant otherwise."""
    telling = [rule for rule in settings.alerts.rules.values() if rule.tells_of(Blame.CONFIG)]
    return [
        f"canary {canary.name}: no rule tells of faults blamed on config (rejected key, unknown model); "
        "a rule does with blame: [config]"
        for canary in settings.describe()
        if not any(rule.watches(canary) for rule in telling)
    ]


def _describe(settings: Settings) -> list[str]:
    alerts = settings.alerts
    canaries = {canary.name: canary for canary in settings.describe()}
    rows: list[tuple[str, ...]] = [("CANARY", "TARGET", "MODEL", "EVERY", "RULES")]
    for name, spec in settings.canaries.items():
        rules = [rule_name for rule_name, rule in alerts.rules.items() if rule.watches(canaries[name])]
        rows.append((name, spec.target, spec.model, format_duration(spec.every), ", ".join(rules) or "none"))
    lines = _table(rows)
    rows = [("RECEIVER", "TYPE")]
    rows += [(name, receiver.type) for name, receiver in alerts.receivers.items()]
    if alerts.receivers:
        lines += ["", *_table(rows)]
    otlp = settings.telemetry.otlp
    lines += [
        "",
        f"store      {settings.store.path}",
        f"telemetry  {otlp.endpoint if otlp else 'not exported'}",
        f"good: {len(canaries)} canaries, {len(alerts.rules)} rules, {len(alerts.receivers)} receivers",
    ]
    return lines


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
