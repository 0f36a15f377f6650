"""Completion of the command line, as a shell does it."""

import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from streamcanary.cli.completion import complete_canary, complete_receiver
from streamcanary.cli.main import main

CONFIG = """
canaries: {chat-mini: {}, chat-large: {}, embed: {}}
alerts: {receivers: {oncall: {}, chat: {}}}
"""


def complete(line: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> list[str]:
    """Return what bash offers at the end of ``line``, with the script that the verb prints."""
    assert 0 == main(["completion", "bash"])
    script = capfd.readouterr().out
    words = line.split(" ")
    program = f"""{script}
COMP_WORDS=({" ".join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}
COMP_LINE={line!r}; COMP_POINT={len(line)}; COMP_TYPE=9; COMP_KEY=9
compopt() {{ :; }}
_python_argcomplete streamcanary {words[-1]!r} {words[-2]!r}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    assert "" == done.stderr
    return sorted(word.strip() for word in done.stdout.split("\n") if word.strip())


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("streamcanary pro", ["probe"]),
        ("streamcanary probe --js", ["--json"]),
        ("streamcanary probe -c canaries.yaml chat", ["chat-large", "chat-mini"]),
        ("streamcanary notify -c canaries.yaml o", ["oncall"]),
        ("streamcanary completion z", ["zsh"]),
        ("streamcanary check -c can", ["canaries.yaml"]),
        ("streamcanary probe -c missing.yaml chat", []),
    ],
)
def test_bash_offers(line: str, offered: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Verbs, options, values, files, and the names in the configuration."""
    (tmp_path / "canaries.yaml").write_text(CONFIG)
    assert offered == complete(line, tmp_path, capfd)


@pytest.mark.parametrize(
    ("shell", "part"), [("zsh", "#compdef streamcanary"), ("fish", "complete --command streamcanary")]
)
def test_other_shells_have_scripts(shell: str, part: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The scripts of zsh and fish are for this program."""
    assert 0 == main(["completion", shell])
    assert part in capfd.readouterr().out


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00", b"canaries: [", b"canaries: 3", b"[]", b"", b"canaries: {? [a, b] : 1}", b"x: " + b"[" * 5000,
        b"canaries: {chat: {}}\n" + b"#" * 1_000_000,
        b'canaries: {"chat\\e[31m": {}}',
    ],
)  # fmt: skip
def test_an_unusable_configuration_offers_nothing(content: bytes, tmp_path: Path) -> None:
    """A Tab prints no error: neither for broken YAML, nor for a large file or names with control characters."""
    (tmp_path / "broken.yaml").write_bytes(content)
    arguments = Namespace(config=tmp_path / "broken.yaml")
    assert [] == complete_canary("chat", arguments)
    assert [] == complete_receiver("", arguments)


def test_names_are_read_without_expanding_aliases(tmp_path: Path) -> None:
    """Aliases that would expand to millions of values cost nothing."""
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    (tmp_path / "aliases.yaml").write_text("\n".join([*lines, "canaries: {chat: *a39}"]))
    assert ["chat"] == complete_canary("", Namespace(config=tmp_path / "aliases.yaml"))
