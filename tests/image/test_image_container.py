"""The image works as a container that may write to its volume only, as a numeric user, without a shell."""

import json
import os
import re
import stat
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
import yaml

from support.http_client import loopback_client
from support.programs.image import ROOT, Dockerfile, Image, ImageDaemon
from support.servers.provider import MODEL, FakeProvider

pytestmark = pytest.mark.timeout(900)  # the first test waits for the build

DRAIN = 10.0
"""Seconds that the daemon may take to exit, as documented."""


def run(
    image: Image, *arguments: str, show: tuple[Path, ...] = (), environ: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """Run a command in a container, with ``environ`` beside the variables of the image."""
    return subprocess.run(
        image.command(*arguments, show=show),
        env={**image.environment, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_nobody_may_write_to_the_tree(image: Image):
    """No file or folder is writable, and none runs with the rights of another user."""
    modes = {path: path.lstat().st_mode for path in (image.tree, *image.tree.rglob("*")) if not path.is_symlink()}
    refused = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH | stat.S_ISUID | stat.S_ISGID
    assert [] == [path for path, mode in modes.items() if mode & refused]
    readable = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
    assert [] == [path for path, mode in modes.items() if mode & readable != readable]


def test_every_module_is_compiled(image: Image):
    """Each module of the package and its dependencies has a compiled file without docstrings and asserts."""
    [library] = image.tree.glob("lib/python*/site-packages")
    sources = {path.relative_to("/") for path in library.rglob("*.py")}
    compiled = (image.tree / "compiled").rglob("*.opt-2.pyc")
    names = {
        path.relative_to(image.tree / "compiled").parent / f"{path.name.partition('.')[0]}.py" for path in compiled
    }
    assert set() == sources - names


def test_a_start_compiles_nothing(image: Image, tmp_path: Path):
    """No module is loaded from its source, which a read-only file system would make each start repeat."""
    config = tmp_path / "streamcanary.yaml"
    targets = {"sim": {"base_url": "http://127.0.0.1:1/v1", "api_key": "none"}}
    canaries = {"chat": {"target": "sim", "model": MODEL, "every": "30s"}}
    config.write_text(json.dumps({"targets": targets, "canaries": canaries}))
    ended = run(image, "check", "-c", str(config), show=(config,), environ={"PYTHONVERBOSE": "1"})
    loaded = re.findall(r"# code object from '(.*)'", ended.stderr)
    assert (0, True) == (ended.returncode, len(loaded) > 300), ended
    assert [] == [path for path in loaded if not path.endswith(".pyc")]


def test_the_tree_has_what_runs_and_no_more(image: Image):
    """There is no pip, nothing of the tests, and no development dependency."""
    [library] = image.tree.glob("lib/python*/site-packages")
    assert (library / "streamcanary").is_dir()
    assert [] == [name for name in ("pip", "hatchling", "pytest", "tests", "tools") if (library / name).exists()]


def test_the_image_prints_its_version(image: Image):
    """``docker run IMAGE --version`` works without a shell, a home, ``/etc/passwd`` and ``/tmp``."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    ended = run(image, "--version")
    assert (0, f"streamcanary {version}\n", "") == (ended.returncode, ended.stdout, ended.stderr)


def test_the_liveness_command_works_in_the_image(image: Image, tmp_path: Path):
    """The command in the probe of a sidecar is in the image, and needs no more than the file."""
    values = yaml.safe_load((ROOT / "helm" / "streamcanary-sidecar" / "values.yaml").read_text())
    program = values["livenessProbe"]["exec"]["command"][0].replace("/opt/streamcanary", str(image.tree), 1)
    alive = tmp_path / "alive"
    alive.touch()
    [entrypoint] = image.entrypoint
    command = [program if word == entrypoint else word for word in image.command(str(alive), show=[alive])]
    ended = subprocess.run(
        command,
        env=image.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert (0, "alive\n", "") == (ended.returncode, ended.stdout, ended.stderr)


def test_check_works_in_the_image(image: Image, tmp_path: Path):
    """``docker run IMAGE check -c FILE`` checks a mounted configuration."""
    config = tmp_path / "streamcanary.yaml"
    config.write_text("targets: {sim: {base_url: 'http://127.0.0.1:1/v1'}}\ncanaries: {chat: {target: sim}}\n")
    ended = run(image, "check", "-c", str(config), show=(config,))
    assert (2, True) == (ended.returncode, "model" in ended.stderr), ended


async def test_the_daemon_runs_in_the_image(image: Image, tmp_path: Path):
    """The daemon probes a provider, answers ``/livez``, and ends with its drain after SIGTERM."""
    async with FakeProvider() as provider:
        config = {
            "web": {"port": 0},
            "targets": {"sim": {"base_url": provider.base_url, "api_key": "test"}},
            "canaries": {"chat": {"target": "sim", "model": MODEL, "prompt": "ping", "every": "1s"}},
        }
        async with ImageDaemon(image, tmp_path, config) as daemon:
            address = await daemon.wait_for_log("web server started")
            async with loopback_client() as client:
                live = await client.get(f"http://127.0.0.1:{address['port']}/livez")
            assert 200 == live.status_code
            if os.geteuid() == 0:
                status = Path(f"/proc/{daemon.pid}/status").read_text()
                user, group = Dockerfile.read().user
                assert f"\nUid:\t{user}\t{user}\t{user}\t{user}\nGid:\t{group}\t{group}\t{group}\t{group}\n" in status
            await daemon.wait_for_log("run finished", outcome="ok")
            ended = await daemon.terminate()
    assert (0, True) == (ended.code, ended.seconds < DRAIN)
    assert [] == daemon.logged_problems
