"""``make observe`` starts everything, prints the addresses, draws the dashboards, and leaves nothing behind."""

import asyncio
import re
import signal
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx2
import pytest
from tools.observe import grafana

from streamcanary.telemetry.dashboards import load_dashboards
from support.http_client import loopback_client
from support.programs.required_tools import require_tool

ROOT = Path(__file__).parents[2]


@pytest.mark.real("prometheus")
@pytest.mark.real("jaeger")
@pytest.mark.real("otelcol")
@pytest.mark.real("postgresql")
async def test_observe_ends_cleanly_on_ctrl_c(tmp_path: Path) -> None:
    """Each printed address answers; after SIGINT the exit code is 0, and no address answers any more."""
    for tool in ("prometheus", "jaeger", "otelcol", "postgresql"):
        require_tool(tool)
    command = [sys.executable, "-m", "tools.observe", "--find", "--for", "120", "--pictures", str(tmp_path)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(120):
            lines = [(await process.stdout.readuntil(b"\n")).decode()]
            while "Press Ctrl-C" not in lines[-1]:
                lines.append((await process.stdout.readuntil(b"\n")).decode())
            addresses = re.findall(r"http://127\.0\.0\.1:\d+", "".join(lines))
            names = ["streamcanary", "Prometheus", "Jaeger", "Collector", "replica-1", "replica-2"]
            assert names == [line.split()[0] for line in lines[: len(names)]]
            assert [True] * len(names) == [await answers(address) for address in addresses]
            await asyncio.sleep(5)
            process.send_signal(signal.SIGINT)
            assert 0 == await process.wait()
        assert [False] * len(names) == [await answers(address) for address in addresses]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    check_pictures(tmp_path)


async def answers(address: str) -> bool:
    """Return whether a server listens at ``address``."""
    try:
        async with loopback_client() as client:
            await client.get(address)
    except httpx2.ConnectError:
        return False
    return True


def check_pictures(folder: Path) -> None:
    """Assert that each dashboard is a well-formed SVG with the titles of its panels."""
    for dashboard in load_dashboards().values():
        root = ET.fromstring((folder / f"{dashboard.name}.svg").read_text())  # noqa: S314 - our own file
        texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
        assert dashboard.title in texts
        assert set(re.findall(r'"title": "([^"$]+)",\n   "type": "(?:timeseries|stat)"', dashboard.text)) <= texts


@pytest.mark.parametrize(("name", "expected"), [("grafana", ["server"]), ("grafana-server", [])])
def test_grafana_is_found_on_path(tmp_path: Path, name: str, expected: list[str]) -> None:
    """Either program of Grafana is used, with the folder of its files."""
    program = tmp_path / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    environ = {"PATH": str(tmp_path), "GRAFANA_HOME": str(tmp_path)}
    assert [str(program), *expected, "--homepath", str(tmp_path)] == grafana.find_command(environ)


def test_without_grafana_there_is_no_command(tmp_path: Path) -> None:
    """No program of that name on PATH: it is left out."""
    assert None is grafana.find_command({"PATH": str(tmp_path)})


def test_grafana_gets_the_provisioned_files() -> None:
    """The folders in its environment exist, and the provisioning has a data source and the dashboards."""
    environ = grafana.environment(Path("/data"), 3000, prometheus="http://127.0.0.1:9090", traces="")
    assert "127.0.0.1" == environ["GF_SERVER_HTTP_ADDR"]
    assert sorted(load_dashboards()) == sorted(path.stem for path in Path(environ["DASHBOARDS"]).glob("*.json"))
    provisioning = Path(environ["GF_PATHS_PROVISIONING"])
    assert ["dashboards", "datasources"] == sorted(path.name for path in provisioning.iterdir())
