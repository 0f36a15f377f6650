"""What the configuration is warned of, in the log of a daemon that runs with it."""

from pathlib import Path

from support.programs.daemon import Daemon


async def test_a_daemon_that_tells_nobody_says_so(tmp_path: Path) -> None:
    """Once, at its start, with the place in the file; ``check`` says the same."""
    config = {
        "targets": {"t": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}},
        "canaries": {"c": {"target": "t", "model": "m", "every": "1h"}},
        "alerts": {"rules": {"Down": {}}},
    }
    async with Daemon(tmp_path, config) as daemon:
        told = [line["message"] for line in daemon.log if "receivers" in line["message"]]
    [said] = told
    assert f"{tmp_path}/streamcanary.yaml:1:" in said
    assert said.endswith(
        "alerts.receivers: is empty, so no alert is sent; add a receiver, such as "
        "oncall: {type: pagerduty, routing_key_file: PATH}"
    )
