"""A real inference server, llama.cpp's, with a tiny model of random weights."""

import subprocess
from pathlib import Path

import httpx2

from support.http_client import loopback_client
from support.programs.program import Program
from support.programs.required_tools import require_tool

CONTEXT_TOKENS = 256
"""The size of the model's context."""

_BUILD_MODEL = Path(__file__).with_name("tiny_model.py")


class LlamaServer(Program):
    """``async with LlamaServer(tmp_path) as server``: serves the model ``tiny``, whose answers have no meaning."""

    ready_within = 60.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "llama")
        self._python = require_tool("llama")

    @property
    def base_url(self) -> str:
        """The address for clients."""
        return f"http://127.0.0.1:{self.ports[0]}/v1"

    def command(self) -> list[str]:
        """Write the model."""
        model = self.folder / "tiny.gguf"
        if not model.exists():
            build = [str(self._python), str(_BUILD_MODEL), str(model), str(CONTEXT_TOKENS)]
            subprocess.run(build, check=True, timeout=60)
        arguments = {
            "model": model,
            "model_alias": "tiny",
            "host": "127.0.0.1",
            "port": self.ports[0],
            "n_ctx": CONTEXT_TOKENS,
            "n_threads": 1,
            "chat_format": "chatml",
        }
        options = (part for name, value in arguments.items() for part in (f"--{name}", str(value)))
        return [str(self._python), "-m", "llama_cpp.server", *options]

    async def is_ready(self) -> bool:
        """Return whether the server lists its model."""
        async with loopback_client() as client:
            try:
                return (await client.get(f"{self.base_url}/models")).status_code == 200
            except httpx2.TransportError:
                return False
