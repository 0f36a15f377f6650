"""Generates the Grafana dashboards with the Grafana Foundation SDK; ``tools.docs`` writes and checks the files.

One module for each dashboard; ``metrics`` and ``queries`` have the PromQL that they share, ``panels`` the kinds of
panels.
"""

from pathlib import PurePosixPath

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from . import alerting, canary, daemon, genai, overview

BOARDS = (overview.BOARD, canary.BOARD, alerting.BOARD, daemon.BOARD, genai.BOARD)

_FOLDERS = (PurePosixPath("config/grafana/dashboards"), PurePosixPath("daemon/streamcanary/telemetry/dashboards"))
"""For Grafana's provisioning, and for `streamcanary dashboard`."""


def dashboard_texts() -> dict[str, str]:
    """Return the JSON of the dashboards by their names."""
    encoder = JSONEncoder(sort_keys=True, indent=1)
    return {board.name: encoder.encode(board.build()) + "\n" for board in BOARDS}


def dashboard_files() -> dict[str, str]:
    """Return the JSON of the dashboards by the paths of the files."""
    texts = dashboard_texts()
    return {f"{folder / name}.json": text for folder in _FOLDERS for name, text in texts.items()}
