#!/usr/bin/env python3
"""Build or download the programs that some tests run.

These are an OpenTelemetry Collector, Alertmanager, promtool, Helm, kubectl, kubeconform, actionlint and PostgreSQL.
With their names as arguments, also what only `make test-full` needs: prometheus, jaeger, chromium, litellm, llama,
kube-apiserver and etcd.

Prints the path of each on stdout, one a line; immediate when they are in the cache. Steps that take longer than ten
seconds are reported on stderr. A program that is not available is reported on stderr, too: the tests that need it are
skipped with the reason, so this is a failure only with ``CI=true``.

A program of the same name on PATH is never used: its version is unknown, and the tests must not depend on it. To run
the tests with a program of your own, set its path in STREAMCANARY_TEST_OTELCOL, STREAMCANARY_TEST_ALERTMANAGER or
STREAMCANARY_TEST_PROMTOOL, and so on; STREAMCANARY_TEST_LITELLM and STREAMCANARY_TEST_LLAMA are a Python that imports
the server, and STREAMCANARY_TEST_POSTGRESQL is a `postgres` in a folder with `initdb`, `psql` and `pg_dump`.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Protocol

import actionlint
import alertmanager
import cache
import chromium
import helm
import jaeger
import kubeconform
import kubernetes_server
import otelcol
import postgresql
import progress
import prometheus
import promtool
import python_server


class Tool(Protocol):
    """A program that tests run."""

    def find(self) -> Path | None:
        """Return the program if it is in the cache."""

    def fetch(self) -> Path:
        """Return the program, made if need be; raises ``cache.Unavailable``."""


PROGRAMS: dict[str, Tool] = {
    "otelcol": otelcol,
    "alertmanager": alertmanager,
    "promtool": promtool,
    "helm": helm.PROGRAM,
    "kubectl": kubernetes_server.KUBECTL,
    "kubeconform": kubeconform.PROGRAM,
    "actionlint": actionlint.PROGRAM,
    "postgresql": postgresql.PROGRAM,
}
FOR_TEST_FULL: dict[str, Tool] = {
    "chromium": chromium.PROGRAM,
    "prometheus": prometheus,
    "jaeger": jaeger.PROGRAM,
    "litellm": python_server.LITELLM,
    "llama": python_server.LLAMA,
    "kube-apiserver": kubernetes_server.API_SERVER,
    "etcd": kubernetes_server.ETCD_SERVER,
}
TOOLS = PROGRAMS | FOR_TEST_FULL


def main() -> int:
    """Return 0, or 1 if a program is missing and ``--find`` or ``CI=true`` makes that a failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", nargs="*", metavar="TOOL", help=f"{', '.join(TOOLS)}; default: {', '.join(PROGRAMS)}")
    parser.add_argument("--find", action="store_true", help="print paths only; exit 1 if a program is missing")
    arguments = parser.parse_args()
    if unknown := set(arguments.tools) - set(TOOLS):
        parser.error(f"unknown tool {', '.join(sorted(unknown))}; known: {', '.join(TOOLS)}")
    missing = False
    for name in arguments.tools or PROGRAMS:
        try:
            path = _override(name) or (_find(name) if arguments.find else TOOLS[name].fetch())
        except cache.Unavailable as reason:
            missing = True
            progress.write(f"{name}: {reason}")
        else:
            sys.stdout.write(f"{path}\n")
            sys.stdout.flush()
    return int(missing and (arguments.find or os.environ.get("CI") == "true"))


def _override(name: str) -> Path | None:
    variable = f"STREAMCANARY_TEST_{name.upper().replace('-', '_')}"
    value = os.environ.get(variable)
    if not value:
        return None
    path = Path(value).absolute()
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise cache.Unavailable(f"{variable} is {value}, which is not an executable file")
    return path


def _find(name: str) -> Path:
    found = TOOLS[name].find()
    if found is None:
        raise cache.Unavailable("not in the cache; run tools/fetch.py")
    return found


if __name__ == "__main__":
    sys.exit(main())
