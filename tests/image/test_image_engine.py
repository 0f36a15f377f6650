"""The image, built and run by a container engine: docker, podman, or a program with the same command line.

The tests run where ``STREAMCANARY_TEST_ENGINE`` names the engine, as few test machines have one that works.
``STREAMCANARY_TEST_PYTHON_IMAGE`` names another base image, where that of the Dockerfile cannot be pulled.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.http_client import loopback_client
from support.programs.daemon import Daemon
from support.programs.image import ROOT, Dockerfile
from support.servers.provider import MODEL, FakeProvider

ENGINE = os.environ.get("STREAMCANARY_TEST_ENGINE", "")
TAG = "localhost/streamcanary:test"
DRAIN = 10.0
"""Seconds that the daemon may take to exit, as documented."""

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not ENGINE, reason="needs STREAMCANARY_TEST_ENGINE=docker or podman"),
]


def engine(*arguments: str) -> str:
    """Run the engine, and return its stdout."""
    result = subprocess.run(
        [ENGINE, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1700, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def image() -> dict[str, Any]:
    """Build the image, and return what the engine knows of it."""
    arguments = {"VERSION": "1.2.3", "REVISION": "abc"}
    if base := os.environ.get("STREAMCANARY_TEST_PYTHON_IMAGE"):
        arguments["PYTHON_IMAGE"] = base
    options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    engine("build", *options, "-t", TAG, str(ROOT))
    [inspected] = json.loads(engine("image", "inspect", TAG))
    return inspected


class ContainerDaemon(Daemon):
    """A daemon in a container without capabilities, whose store is in ``folder / "volume"``."""

    def __init__(self, folder: Path, config: Mapping[str, object]) -> None:
        self.volume = folder / "volume"
        super().__init__(folder, {"store": {"path": "/var/lib/streamcanary/store.db"}, **config})
        self.volume.mkdir()
        self.volume.chmod(0o777)  # the user of the image is another one outside of a rootless engine

    def launch_command(self) -> list[str]:
        """Return the command line up to the verb."""
        return [
            *(ENGINE, "run", "--rm", "--network=host", "--read-only", "--cap-drop=ALL"),
            "--security-opt=no-new-privileges",
            *("-v", f"{self.config}:{self.config}:ro", "-v", f"{self.volume}:/var/lib/streamcanary"),
            TAG,
        ]


def test_the_engine_knows_user_command_and_labels(image: dict[str, Any]):
    """The engine reads the Dockerfile as it is meant."""
    config = image["Config"]
    assert "{}:{}".format(*Dockerfile.read().user) == config["User"]
    assert ["/opt/streamcanary/bin/streamcanary"] == config["Entrypoint"]
    assert ["run", "-c", "/etc/streamcanary/streamcanary.yaml"] == config["Cmd"]
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    assert ("1.2.3", "abc") == (labels["version"], labels["revision"])


@pytest.mark.usefixtures("image")
async def test_the_daemon_runs_in_a_container(tmp_path: Path):
    """The daemon probes a provider, answers ``/livez``, and ends with its drain after SIGTERM."""
    async with FakeProvider() as provider:
        config = {
            "web": {"port": 0},
            "targets": {"sim": {"base_url": provider.base_url, "api_key": "test"}},
            "canaries": {"chat": {"target": "sim", "model": MODEL, "prompt": "ping", "every": "1s"}},
        }
        async with ContainerDaemon(tmp_path, config) as daemon:
            address = await daemon.wait_for_log("web server started")
            async with loopback_client() as client:
                live = await client.get(f"http://127.0.0.1:{address['port']}/livez")
            assert 200 == live.status_code
            await daemon.wait_for_log("run finished", outcome="ok")
            ended = await daemon.terminate()
    assert (0, True) == (ended.code, ended.seconds < DRAIN)
    assert [] == daemon.logged_problems
