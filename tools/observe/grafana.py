"""Grafana, if the machine has one: with the provisioned data sources and dashboards of ``config/grafana/``."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

CONFIG = Path(__file__).parents[2] / "config" / "grafana"
_HOMES = ("/usr/share/grafana", "/opt/homebrew/opt/grafana/share/grafana", "/usr/local/share/grafana")


def find_command(environ: Mapping[str, str] = os.environ) -> list[str] | None:
    """Return the command line of Grafana's server, or ``None`` if there is no Grafana on PATH.

    Its files are in GRAFANA_HOME, or where the packages of Debian, Red Hat and Homebrew put them.
    """
    search = environ.get("PATH")
    home = next((path for path in (environ.get("GRAFANA_HOME", ""), *_HOMES) if path and Path(path).is_dir()), None)
    options = ["--homepath", home] if home else []
    if program := shutil.which("grafana", path=search):
        return [program, "server", *options]
    if program := shutil.which("grafana-server", path=search):
        return [program, *options]
    return None


def environment(folder: Path, port: int, *, prometheus: str, traces: str) -> dict[str, str]:
    """Return the settings of Grafana: on loopback, without a login, with its data in ``folder``."""
    return {
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": str(port),
        "GF_PATHS_DATA": str(folder / "grafana"),
        "GF_PATHS_LOGS": str(folder / "grafana"),
        "GF_PATHS_PROVISIONING": str(CONFIG / "provisioning"),
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Admin",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "PROMETHEUS_URL": prometheus,
        "TRACES_URL": traces,
        "DASHBOARDS": str(CONFIG / "dashboards"),
    }
