"""Configuration warnings in the log of a running daemon."""

from pathlib import Path

from support.programs.daemon import Daemon


async def test_a_daemon_without_receivers_logs_a_warning(tmp_path: Path) -> None:
    """The warning appears once, at the start, with its place in the file, and ``check`` prints the same."""
    config = {
        "targets": {"t": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}},
        "canaries": {"c": {"target": "t", "model": "m", "every": "1h"}},
        "alerts": {"rules": {"Down": {}}},
    }
    async with Daemon(tmp_path, config) as daemon:
        [warning] = [line["problem"] for line in daemon.log if line["message"] == "configuration warning"]
    assert f"{tmp_path}/streamcanary.yaml:1:" in warning
    assert warning.endswith(
        "alerts.receivers: is empty, so no alert is sent; add a receiver, such as "
        "oncall: {type: pagerduty, routing_key_file: PATH}"
    )
