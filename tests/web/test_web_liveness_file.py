"""The liveness file, and the command that checks it."""

import asyncio
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamcanary import liveness
from streamcanary.settings import load
from streamcanary.web.liveness_file import LivenessFile

HOUR = 3600.0


async def until_renewed(path: Path, after: float) -> None:
    """Wait until ``path`` has a time later than ``after``, in seconds since the epoch."""
    async with asyncio.timeout(10):
        while not path.exists() or path.stat().st_mtime <= after:
            await asyncio.sleep(0.01)


async def test_the_file_is_created_and_renewed(tmp_path: Path) -> None:
    """The daemon creates the file, sets its time again and again, and removes it when it stops."""
    path = tmp_path / "alive"
    async with LivenessFile(path, interval=0.01):
        await until_renewed(path, 0.0)
        os.utime(path, (1.0, 1.0))
        await until_renewed(path, time.time() - HOUR)
    assert not path.exists()


async def test_without_a_path_there_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The liveness file is optional."""
    monkeypatch.chdir(tmp_path)
    async with LivenessFile(None, interval=0.01):
        await asyncio.sleep(0)
    assert [] == list(tmp_path.iterdir())


async def test_a_file_that_cannot_be_written_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that does not exist is logged once, and the file is written as soon as it does."""
    path = tmp_path / "later" / "alive"
    with caplog.at_level(logging.INFO, "streamcanary"):
        async with LivenessFile(path, interval=0.01):
            async with asyncio.timeout(10):
                while not caplog.records:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            path.parent.mkdir()
            await until_renewed(path, 0.0)
    assert ["liveness file not written", "liveness file written again"] == [record.msg for record in caplog.records]
    assert "No such file or directory" == vars(caplog.records[0])["error"]


async def test_a_pipe_is_not_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A path that is a pipe without a reader is an error, and blocks nothing."""
    os.mkfifo(tmp_path / "alive")
    async with LivenessFile(tmp_path / "alive", interval=0.01):
        async with asyncio.timeout(10):
            while not caplog.records:
                await asyncio.sleep(0.01)
    assert "liveness file not written" == caplog.records[0].msg


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (0.0, None),
        (59.0, None),
        (61.0, "{path} was renewed 61 s ago; the limit is 60 s"),
        (-59.0, None),
        (-HOUR, "{path} was renewed 3600 s in the future; the limit is 60 s"),
    ],
)
def test_the_age_of_the_file_decides(tmp_path: Path, age: float, expected: str | None) -> None:
    """A file that is older than the limit, or as far in the future after a clock step, is not alive."""
    path = tmp_path / "alive"
    path.touch()
    os.utime(path, (1_000_000.0, 1_000_000.0))
    problem = liveness.liveness_problem(str(path), 60.0, 1_000_000.0 + age)
    assert (expected and expected.format(path=path)) == problem


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{file}"], 0, "alive\n"),
        (["{file}", "--max-age", "2m"], 0, "alive\n"),
        (["--max-age=90s", "{file}"], 0, "alive\n"),
        (["{folder}/none"], 1, "not alive: {folder}/none: No such file or directory\n"),
        (["{file}\0"], 1, "not alive: {file}\0: embedded null byte\n"),
        ([], 2, "streamcanary-liveness: needs one FILE\n"),
        ([""], 2, "streamcanary-liveness: needs one FILE\n"),
        (["{file}", "other"], 2, "streamcanary-liveness: needs one FILE\n"),
        (["{file}", "--port"], 2, "streamcanary-liveness: unknown option --port\n"),
        (
            ["{file}", "--max-age"],
            2,
            "streamcanary-liveness: --max-age '' is not a time; write one such as 60s or 2m\n",
        ),
        (["{file}", "--max-age", "0"], 2, "streamcanary-liveness: --max-age '0' is not a time"),
        (["{file}", "--max-age", "nan"], 2, "streamcanary-liveness: --max-age 'nan' is not a time"),
        (["{file}", "--max-age", "inf"], 2, "streamcanary-liveness: --max-age 'inf' is not a time"),
        (["--help"], 0, "usage: streamcanary-liveness FILE [--max-age TIME]"),
    ],
)
def test_the_command_prints_one_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    """The exit code is 0 if the daemon is alive, 1 if not, and 2 for invalid arguments, each with a line."""
    path = tmp_path / "alive"
    path.touch()
    names = {"file": path, "folder": tmp_path}
    assert code == liveness.main([argument.format(**names) for argument in arguments])
    captured = capsys.readouterr()
    assert (captured.out or captured.err).startswith(said.format(**names))


def test_the_command_imports_almost_nothing(tmp_path: Path) -> None:
    """A probe in each of many pods is cheap: it imports neither pydantic nor the SDK, nor what parses arguments."""
    path = tmp_path / "alive"
    path.touch()
    program = f"import runpy, sys; sys.argv = ['x', {str(path)!r}]\n"
    program += "try: runpy.run_module('streamcanary.liveness', run_name='__main__')\n"
    program += "finally: print(*{'argparse', 'asyncio', 'openai', 'pydantic', 'pathlib'} & sys.modules.keys())"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (0, "alive\n\n", "") == (ended.returncode, ended.stdout, ended.stderr)


def test_the_file_need_not_exist_before_the_daemon_does(tmp_path: Path) -> None:
    """The configuration is valid without it: other keys that end in ``_file`` name secrets, which have to exist."""
    path = tmp_path / "streamcanary.yaml"
    path.write_text(
        "{targets: {own: {api_key: none}}, canaries: {c: {target: own, model: m}}, web: {liveness_file: run/alive}}"
    )
    assert tmp_path / "run/alive" == load(path, {}).web.liveness_file
