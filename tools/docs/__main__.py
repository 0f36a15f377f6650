"""Write the generated pages and dashboards; with ``--check``, write nothing and exit with 1 if a page is stale.

With ``--times``, also simulate the times of the page about detection, which takes some ten seconds.
"""

import sys
from pathlib import Path

from .api import PAGE as API_PAGE
from .api import api_files
from .chart import chart_files
from .cli import cli_page
from .client import client_page
from .config_schema import schema_files
from .configuration import configuration_page
from .dashboards import dashboard_files
from .detection import PAGE, detection_files
from .examples import examples_page
from .faults import faults_page
from .notifications.files import notification_files
from .page import Stale
from .rules import rules_page
from .telemetry import telemetry_page

ROOT = Path(__file__).resolve().parents[2]


def pages(root: Path, *, simulate_times: bool = False) -> dict[str, str]:
    """Return the generated pages, dashboards and files of the chart by their path below ``root``.

    The times of the page about detection stay as they are unless ``simulate_times`` is true.

    Raises:
        Stale: if one cannot be generated.
    """
    return {
        **api_files((root / API_PAGE).read_text(encoding="utf-8")),
        "docs/cli.md": cli_page(),
        "docs/client-reference.md": client_page(),
        "docs/configuration-reference.md": configuration_page(),
        "docs/examples.md": examples_page(),
        "docs/faults.md": faults_page(),
        "docs/rules.md": rules_page((root / "docs/rules.md").read_text(encoding="utf-8")),
        "docs/telemetry.md": telemetry_page(),
        **notification_files(),
        **detection_files((root / PAGE).read_text(encoding="utf-8"), simulate_times=simulate_times),
        **dashboard_files(),
        **schema_files(),
        **chart_files(root),
    }


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Write the changed pages; return 0, or 1 if a page cannot be generated, or with ``--check`` is stale."""
    try:
        generated = pages(root, simulate_times="--times" in arguments)
    except Stale as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    stale = {name: text for name, text in generated.items() if _read(root / name) != text}
    if "--check" not in arguments:
        for name, text in stale.items():
            (root / name).write_text(text, encoding="utf-8")
        return 0
    for name in stale:
        sys.stderr.write(f"{name} is stale: run `make docs`\n")
    return 1 if stale else 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
