"""The part "Within a region" of the page "More than one machine" is followed word for word, with a real PostgreSQL."""

import asyncio
import os
import re
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from support.http_client import loopback_client
from support.postgresql.cluster import Cluster
from support.programs.daemon import Daemon
from support.programs.program import free_ports, poll_until
from support.programs.required_tools import require_tool

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(yaml|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_START = re.compile(
    r"STREAMCANARY_STORE__REPLICA=(\w) STREAMCANARY_WEB__PORT=(\d+) streamcanary run -c replicas.yaml\n"
)
_PORTS = ("5432", "9466", "9471", "9472", "9473")  # as the page writes them
_FIRED = re.compile(r"FIRING  Failing  translations  fired (\S+),")
_WITHIN = 60.0

STREAMCANARY = """\
#!/bin/sh
exec {python} -m streamcanary "$@"
"""

pytestmark = pytest.mark.real("postgresql")


def sections() -> dict[str, list[str]]:
    """Return the code blocks of the sections that lead through the set-up."""
    page = (ROOT / "docs" / "more-than-one-machine.md").read_text(encoding="utf-8")
    texts = {text.partition("\n")[0]: text for text in re.split(r"^### ", page, flags=re.MULTILINE)}
    return {name: [text for _, text in _FENCE.findall(texts[name])] for name in ("Set up the database", "Try it")}


class Reader:
    """Somebody who follows the page: replaces its ports by free ones, and runs its commands."""

    def __init__(self, folder: Path, postgresql: Cluster) -> None:
        ports = (postgresql.port, *free_ports(len(_PORTS) - 1))
        self._ports = dict(zip(_PORTS, map(str, ports), strict=True))
        self._folder = folder
        (folder / "bin").mkdir()
        (folder / "bin" / "psql").symlink_to(require_tool("postgresql").with_name("psql"))
        streamcanary = folder / "bin" / "streamcanary"
        streamcanary.write_text(STREAMCANARY.format(python=sys.executable))
        streamcanary.chmod(0o755)
        own = {name: value for name, value in os.environ.items() if not name.startswith("STREAMCANARY_")}
        self._environ = {**own, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", **postgresql.environment}

    def adapted(self, text: str) -> str:
        """Return ``text`` with the ports of this machine."""
        return re.sub("|".join(_PORTS), lambda found: self._ports[found[0]], text)

    def address(self, port: str) -> str:
        """Return the address of what has ``port`` on the page."""
        return f"http://127.0.0.1:{self._ports[port]}"

    async def run(self, text: str) -> str:
        """Run the commands of a block, which succeed, and return their output."""
        async with self.running(text) as process:
            output, _ = await asyncio.wait_for(process.communicate(), _WITHIN)
        assert 0 == process.returncode, f"{text}\n{output.decode()}"
        return output.decode()

    def running(self, text: str) -> "Running":
        """Run a block until the end of the context."""
        return Running(self.adapted(text), self._folder, self._environ)


class Running:
    """A shell that runs a block; its programs end with the context."""

    def __init__(self, text: str, folder: Path, environ: dict[str, str]) -> None:
        self._text, self._folder, self._environ = text, folder, environ

    async def __aenter__(self) -> asyncio.subprocess.Process:
        self._process = await asyncio.create_subprocess_exec(
            *("bash", "-e", "-o", "pipefail", "-c", self._text),
            cwd=self._folder,
            env=self._environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        return self._process

    async def __aexit__(self, *error: object) -> None:
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.communicate()


async def ask(address: str, path: str) -> Any:
    """Return the answer of a replica to a request of its API."""
    async with loopback_client() as client:
        return (await client.get(f"{address}{path}")).raise_for_status().json()


async def wait_for_replicas(address: str, names: set[str]) -> dict[str, Any]:
    """Wait until these replicas own all canaries and the alerts between them, and return what one says of them."""

    async def find() -> dict[str, Any] | None:
        status: dict[str, Any] = await ask(address, "/api/v1/replicas")
        owners = {each["name"] for each in status["replicas"] if each["shards"]}
        is_settled = owners == names and not status["shards_without_owner"] and status["alerts_owner"] in names
        return status if is_settled else None

    return await poll_until(find, _WITHIN, lambda: f"{sorted(names)} do not own everything")


async def wait_for_alert(address: str) -> None:
    """Wait until a replica shows the alert."""

    async def find() -> bool | None:
        return bool((await ask(address, "/api/v1/incidents"))["incidents"]) or None

    await poll_until(find, _WITHIN, lambda: "no alert fires")


@pytest.mark.timeout(300)  # three daemons start on a machine that is busy with other tests
async def test_the_page_can_be_followed(tmp_path: Path, own_postgresql: Cluster) -> None:
    """Three replicas divide the canaries; one is killed, one is ended, and the alert goes on at the last one."""
    own_postgresql.execute("DROP ROLE streamcanary")
    reader = Reader(tmp_path, own_postgresql)
    [create] = sections()["Set up the database"]
    config, simulate, *starts, look, kill, look_again = sections()["Try it"]
    assert "CREATE ROLE\nCREATE DATABASE\n" == await reader.run(create)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(reader.running(simulate.replace("simulate", "simulate --port 9466")))
        daemons = {}
        for start in starts:
            found = _START.fullmatch(start)
            assert found, start
            name, port = found.groups()
            environ = {"STREAMCANARY_STORE__REPLICA": name, "STREAMCANARY_WEB__PORT": reader.adapted(port)}
            daemon = Daemon(tmp_path / name, reader.adapted(config), **environ)
            daemons[name] = await stack.enter_async_context(daemon)
        addresses = dict(zip("abc", map(reader.address, _PORTS[2:]), strict=True))

        status = await wait_for_replicas(addresses["a"], {"a", "b", "c"})
        assert 6 == sum(each["canaries"] for each in status["replicas"])
        for address in addresses.values():
            await wait_for_alert(address)
        fired = _FIRED.findall(await reader.run(look))
        assert 1 == len(set(fired)) == len(fired) - 1

        # The page looks at c at the end: of the others, the owner of the alerts is killed, if it is one of them.
        killed = status["alerts_owner"] if status["alerts_owner"] != "c" else "a"
        ended = "b" if killed == "a" else "a"
        await reader.run(kill.replace("PID", str(daemons[killed].pid)))
        await wait_for_replicas(addresses["c"], {ended, "c"})
        os.kill(daemons[ended].pid, signal.SIGINT)
        assert 0 == await daemons[ended].wait_for_exit()

        status = await wait_for_replicas(addresses["c"], {"c"})
        assert (512, 6) == (status["shards"], status["replicas"][0]["canaries"])
        output = await reader.run(look_again)
        assert output.startswith('{"name":"c",')
        assert fired[:1] == _FIRED.findall(output)
