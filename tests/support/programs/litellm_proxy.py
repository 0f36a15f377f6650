"""A real LiteLLM proxy in front of one provider, without retries of its own."""

from pathlib import Path
from types import MappingProxyType

import httpx2
import msgspec

from support.http_client import loopback_client
from support.programs.program import Program
from support.programs.required_tools import require_tool


class LiteLlmProxy(Program):
    """``async with LiteLlmProxy(tmp_path, upstream=URL) as proxy``: passes every model name on to ``upstream``."""

    ready_within = 200.0
    environment = MappingProxyType(  # no request to other hosts
        {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
    )
    key = "sk-master-key-of-the-test"

    def __init__(self, folder: Path, *, upstream: str) -> None:
        super().__init__(folder / "litellm")
        self._python = require_tool("litellm")
        self._upstream = upstream

    @property
    def base_url(self) -> str:
        """The address for clients."""
        return f"http://127.0.0.1:{self.ports[0]}/v1"

    def command(self) -> list[str]:
        """Write the configuration of the proxy."""
        config = {
            "model_list": [
                {
                    "model_name": "*",
                    "litellm_params": {
                        "model": "openai/*",
                        "api_base": self._upstream,
                        "api_key": "sk-of-the-upstream",
                    },
                }
            ],
            "litellm_settings": {"num_retries": 0, "telemetry": False, "request_timeout": 20},
            "router_settings": {"num_retries": 0, "disable_cooldowns": True},
            "general_settings": {"master_key": self.key},
        }
        path = self.folder / "config.yaml"
        path.write_bytes(msgspec.json.encode(config))  # JSON is YAML
        start = "from litellm import run_server; run_server()"
        arguments = ["--config", str(path), "--host", "127.0.0.1", "--port", str(self.ports[0])]
        return [str(self._python), "-c", start, *arguments]

    async def is_ready(self) -> bool:
        """Return whether the proxy says that it is alive."""
        async with loopback_client() as client:
            try:
                return (await client.get(f"http://127.0.0.1:{self.ports[0]}/health/liveliness")).status_code == 200
            except httpx2.TransportError:
                return False
