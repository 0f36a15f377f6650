"""The page "On Kubernetes" is followed word for word: its files are written, its commands are run, in their order."""

import asyncio
import contextlib
import os
import re
import sys
from base64 import b64decode
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


def section_of_replicas() -> str:
    """Return what the page "More than one machine" says of Kubernetes."""
    page = (ROOT / "docs" / "more-than-one-machine.md").read_text(encoding="utf-8")
    return page.partition("\n### On Kubernetes\n")[2].partition("\n## ")[0]


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


async def follow(section: str, node: Node, cluster: Cluster, folder: Path, simulator: Simulator, **more: str) -> str:
    """Write the files and run the commands of a section; return the output. A simulator replaces the provider."""
    variables = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "OPENAI_API_KEY": KEY, **more}
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


async def wait_for_replicas(cluster: Cluster, node: Node, namespace: str, *, generation: int) -> set[str]:
    """Wait until three pods of a generation own everything between them, and return their names."""
    encoded = cluster.get("secret", "canary-streamcanary-web", namespace=namespace)["data"]["token"]
    headers = {"Authorization": f"Bearer {b64decode(encoded).decode()}"}

    async def find() -> set[str] | None:
        with contextlib.suppress(httpx2.HTTPError):
            async with loopback_client() as client:
                url = f"http://127.0.0.1:{node.pods[-1].port}/api/v1/replicas"
                status = (await client.get(url, headers=headers)).raise_for_status().json()
            owners = {each["name"] for each in status["replicas"] if each["shards"]}
            is_current = {generation} == {each["generation"] for each in status["replicas"]}
            is_settled = not status["shards_without_owner"] and status["alerts_owner"] in owners
            return owners if is_current and is_settled and len(owners) == len(status["replicas"]) == 3 else None
        return None

    return await poll_until(find, 60, lambda: node.pods[-1].log)


@pytest.mark.real("postgresql")
async def test_several_pods_can_be_followed(
    cluster: Cluster, namespace: str, folder: Path, simulator: Simulator, postgres_url: str
) -> None:
    """Three pods share a database: they divide the canaries, load a change, and are replaced one by one."""
    keys = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "llm-keys"}, "stringData": {"openai": KEY}}
    cluster.apply(keys, namespace=namespace)
    section = section_of_replicas().replace("-n canary", f"-n {namespace}")
    with Node(cluster, folder / "node", namespace) as node:
        output = await follow(section, node, cluster, folder, simulator, DATABASE_URL=postgres_url)
        assert 'deployment "canary-streamcanary" successfully rolled out' in output, output
        assert "poddisruptionbudget.policy/canary-streamcanary" in output, output
        first = {pod.name for pod in node.pods}
        assert first == await wait_for_replicas(cluster, node, namespace, generation=1)

        change = ("--reuse-values", "--set", "config.canaries.chat-mini.every=1m")
        chart = str(ROOT / "helm" / "streamcanary")
        await asyncio.to_thread(cluster.helm, "upgrade", "canary", chart, "-n", namespace, *change)
        assert first == await wait_for_replicas(cluster, node, namespace, generation=2)

        deployment = ("-n", namespace, "deployment/canary-streamcanary")
        await asyncio.to_thread(cluster.kubectl, "rollout", "restart", *deployment)
        await asyncio.to_thread(cluster.kubectl, "rollout", "status", *deployment, "--timeout=50s")
        second = await wait_for_replicas(cluster, node, namespace, generation=2)
        assert (second, set()) == ({pod.name for pod in node.pods}, first & second)
