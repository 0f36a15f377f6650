"""The page "On Kubernetes" is followed word for word: its files are written, its commands are run, in their order."""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from streamcanary.simulator import Simulator
from support.http_client import loopback_client
from support.kubernetes.cluster import Cluster
from support.kubernetes.node import Node
from support.kubernetes.operator import operator_kinds
from support.programs.program import poll_until
from support.programs.required_tools import require_tool
from support.servers.simulator import FAST_TIMINGS

ROOT = Path(__file__).parents[2]
KEY = "sk-of-the-page"
_BLOCK = re.compile(r"^```(?P<language>yaml|sh|text)\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# ([\w/-]+\.yaml)\n")
_WITHIN = 120.0

KUBECTL = """\
#!/bin/sh
# The API server forwards to ports of a kubelet. There is none: the port of the pod is on this machine.
case " $* " in *" port-forward "*) exit 0 ;; esac
exec {kubectl} "$@"
"""
STREAMCANARY = """\
#!/bin/sh
exec {python} -m streamcanary "$@" --url "$(cat {folder}/address)"
"""


def sections() -> tuple[str, str]:
    """Return what the page says of the chart, and of the sidecar; not of the image, which needs a container engine."""
    text = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8").partition("\n## Image\n")[0]
    chart, found, sidecar = text.partition("\n## As a sidecar\n")
    assert found
    return chart, sidecar


def blocks(text: str) -> list[tuple[str, str]]:
    """Return language and text of the blocks in a section."""
    return [(found["language"], found["text"]) for found in _BLOCK.finditer(text)]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(timings=FAST_TIMINGS, api_key=KEY) as simulator:
        yield simulator


@pytest.fixture
def folder(cluster: Cluster, tmp_path: Path) -> Path:
    """Return a folder with the chart, as in a checkout, and with the programs that the page uses."""
    (tmp_path / "helm").symlink_to(ROOT / "helm")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "helm").symlink_to(require_tool("helm"))
    for name, text in (("kubectl", KUBECTL), ("streamcanary", STREAMCANARY)):
        path = programs / name
        path.write_text(text.format(kubectl=require_tool("kubectl"), python=sys.executable, folder=tmp_path))
        path.chmod(0o755)
    cluster.apply(*operator_kinds())
    return tmp_path


async def run_commands(text: str, folder: Path, environ: dict[str, str]) -> str:
    """Run the commands of a block in a shell that remembers exported variables; return the output."""
    script = f". ./exported\n{text}\nexport -p > exported\n"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-e", "-o", "pipefail", "-c", script),
        cwd=folder,
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), _WITHIN)
    assert 0 == process.returncode, f"{text}\n{output.decode()}"
    return output.decode()


async def follow(section: str, node: Node, cluster: Cluster, folder: Path, simulator: Simulator) -> str:
    """Write the files and run the commands of a section; return the output. A simulator replaces the provider."""
    variables = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "OPENAI_API_KEY": KEY}
    (folder / "exported").touch()
    outputs = []
    for language, text in blocks(section):
        if language != "sh":
            name = _FILE.match(text)
            assert name, "a YAML block of the page starts with the name of its file"
            simulated = text.replace("https://api.openai.com/v1", simulator.base_url).replace("gpt-4o-mini", "sim-ok")
            (folder / name[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / name[1]).write_text(simulated)
            continue
        if "streamcanary alerts" in text:
            await wait_until_served(node)
            (folder / "address").write_text(f"http://127.0.0.1:{node.pod.port}")
        outputs.append(await run_commands(text, folder, cluster.environment | variables))
    return "".join(outputs)


async def wait_until_served(node: Node) -> None:
    """Wait until the daemon answers: a pod with a sidecar is ready before its sidecar is."""

    async def check() -> bool | None:
        with contextlib.suppress(httpx2.HTTPError):
            async with loopback_client() as client:
                return (await client.get(f"http://127.0.0.1:{node.pod.port}/livez")).status_code == 200 or None
        return None

    await poll_until(check, 60, lambda: node.pod.log)


async def test_the_chart_can_be_followed(cluster: Cluster, folder: Path, simulator: Simulator) -> None:
    """Every command succeeds, from the empty cluster to the removed release."""
    with Node(cluster, folder / "node", "canary") as node:
        output = await follow(sections()[0], node, cluster, folder, simulator)
    for expected in (
        'deployment "canary-streamcanary" successfully rolled out',
        "Phase:          Succeeded",
        "Pong!",
        "no alert is firing",
        "Rollback was a success!",
        "podmonitor.monitoring.coreos.com/canary-streamcanary",
        '"message":"daemon started"',
        'release "canary" uninstalled',
    ):
        assert expected in output, output


async def test_the_sidecar_can_be_followed(cluster: Cluster, folder: Path, simulator: Simulator) -> None:
    """Every command succeeds, with Kustomize and with Helm, up to what removes each of them."""
    with Node(cluster, folder / "node", "shop") as node:
        output = await follow(sections()[1], node, cluster, folder, simulator)
    for expected in (
        "deployment.apps/shop created",
        'deployment "shop" successfully rolled out',
        'deployment.apps "shop" deleted',
        "podmonitor.monitoring.coreos.com/shop-streamcanary-sidecar",
        "prometheusrule.monitoring.coreos.com/shop-streamcanary-sidecar",
        'release "shop" uninstalled',
    ):
        assert expected in output, output
