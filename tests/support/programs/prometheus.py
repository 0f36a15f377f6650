"""A real Prometheus, with its data in a temporary folder."""

from pathlib import Path
from typing import Any

import httpx2
import msgspec

from support.http_client import loopback_client
from support.programs.program import Program
from support.programs.required_tools import require_tool


class Prometheus(Program):
    """``async with Prometheus(tmp_path, …) as prometheus``: scrapes and evaluates every second until the block ends.

    ``scrape`` is a scrape configuration, ``rules`` the content of a rule file, whose intervals are shortened to a
    second; alerts go to each ``alertmanager``, an address such as ``127.0.0.1:9093``.
    """

    ready_within = 60.0

    def __init__(
        self, folder: Path, *, scrape: dict[str, Any], rules: dict[str, Any], alertmanager: str | list[str]
    ) -> None:
        super().__init__(folder / "prometheus")
        self._program = require_tool("prometheus")
        self._scrape = scrape
        self._rules = {"groups": [{**group, "interval": "1s"} for group in rules["groups"]]}
        self._alertmanagers = [alertmanager] if isinstance(alertmanager, str) else alertmanager

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.ports[0]}"

    async def rules(self) -> dict[str, dict[str, Any]]:
        """Return its alerting rules with their state and health, by name."""
        async with loopback_client() as client:
            answer = (await client.get(f"{self.url}/api/v1/rules")).raise_for_status().json()
        return {rule["name"]: rule for group in answer["data"]["groups"] for rule in group["rules"]}

    async def is_ready(self) -> bool:
        """Return whether it is ready."""
        try:
            async with loopback_client() as client:
                return (await client.get(f"{self.url}/-/ready")).status_code == 200
        except httpx2.HTTPError:
            return False

    def command(self) -> list[str]:
        """Write the configuration and the rules."""
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(self.folder / "rules.yml")],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": self._alertmanagers}]}]},
            "scrape_configs": [self._scrape],
        }
        (self.folder / "rules.yml").write_bytes(msgspec.json.encode(self._rules))  # JSON is YAML
        (self.folder / "prometheus.yml").write_bytes(msgspec.json.encode(config))
        return [
            str(self._program),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.ports[0]}",
        ]
