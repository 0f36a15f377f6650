"""``streamcanary simulate`` as a process of its own, with a timeline of faults."""

import sys
from pathlib import Path

import httpx2

from support.http_client import loopback_client
from support.programs.program import Program


class SimulatorProgram(Program):
    """A simulator that plays ``timeline``, in the format of its file, from its start on."""

    def __init__(self, folder: Path, timeline: str) -> None:
        super().__init__(folder)
        self._timeline = timeline

    def command(self) -> list[str]:
        """Write the timeline, and return the command line."""
        file = self.folder / "timeline.yaml"
        file.write_text(self._timeline)
        port = str(self.ports[0])
        return [sys.executable, "-m", "streamcanary", "simulate", "--port", port, "--timeline", str(file)]

    async def is_ready(self) -> bool:
        """Return whether it serves requests."""
        async with loopback_client() as client:
            try:
                return (await client.get(f"{self.base_url}/models")).is_success
            except httpx2.TransportError:
                return False

    @property
    def base_url(self) -> str:
        """The base URL for a client."""
        return f"http://127.0.0.1:{self.ports[0]}/v1"
