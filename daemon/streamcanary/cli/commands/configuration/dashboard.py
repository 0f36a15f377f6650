"""The verb ``dashboard``: prints or writes the Grafana dashboards."""

import argparse
import sys

from streamcanary.cli.table import format_table
from streamcanary.telemetry.dashboards import load_dashboards


def main(arguments: argparse.Namespace) -> int:
    """Print a dashboard or the list, or write files; return 0, 1 if a file cannot be written, or 2 for a wrong name."""
    dashboards = load_dashboards()
    name, folder = arguments.name, arguments.output
    if name is not None and name not in dashboards:
        print(f"no dashboard is called {name!r}; there are: {', '.join(dashboards)}", file=sys.stderr)
        return 2
    chosen = list(dashboards.values()) if name is None else [dashboards[name]]
    if folder is None:
        if name is None:
            rows = [("NAME", "TITLE", "DESCRIPTION"), *((each.name, each.title, each.description) for each in chosen)]
            print(*format_table(rows), sep="\n")
        else:
            sys.stdout.write(chosen[0].text)
        return 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for each in chosen:
            (folder / f"{each.name}.json").write_text(each.text, encoding="utf-8")
    except OSError as error:
        print(f"cannot write to {folder}: {error.strerror}; choose another folder with --output", file=sys.stderr)
        return 1
    for each in chosen:
        print(f"wrote {folder / each.name}.json", file=sys.stderr)
    return 0
