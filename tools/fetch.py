#!/usr/bin/env python3
"""Make the real programs available that some tests run against: an OpenTelemetry Collector, Alertmanager, promtool.

Prints the path of each on stdout, one a line; quick when they are there. A program that cannot be had is
reported on stderr: the tests that need it skip and say why, so it is a failure only with ``CI=true``.
"""

import argparse
import os
import sys
from pathlib import Path

import alertmanager
import cache
import otelcol
import promtool

TOOLS = {"otelcol": otelcol, "alertmanager": alertmanager, "promtool": promtool}


def main() -> int:
    """Return 0, or 1 if a program is missing and that matters."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tools", nargs="*", metavar="TOOL", help=f"{' or '.join(TOOLS)}; all of them by default")
    parser.add_argument("--find", action="store_true", help="only look; exit 1 if one is not there")
    arguments = parser.parse_args()
    if unknown := set(arguments.tools) - set(TOOLS):
        parser.error(f"unknown tool {', '.join(sorted(unknown))}; there are {', '.join(TOOLS)}")
    missing = False
    for name in arguments.tools or TOOLS:
        try:
            path = _find(name) if arguments.find else TOOLS[name].fetch()
        except cache.Unavailable as reason:
            missing = True
            sys.stderr.write(f"{name}: {reason}\n")
        else:
            sys.stdout.write(f"{path}\n")
    return int(missing and (arguments.find or os.environ.get("CI") == "true"))


def _find(name: str) -> Path:
    found: Path | None = TOOLS[name].find()
    if found is None:
        raise cache.Unavailable("not there; tools/fetch.py brings it")
    return found


if __name__ == "__main__":
    sys.exit(main())
