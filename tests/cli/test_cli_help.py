"""The help of every verb, and what it costs."""

import subprocess
import sys

import pytest

from streamcanary.cli.commands import VERBS
from streamcanary.cli.main import create_parser, main

_HEAVY = (
    "asyncio",
    "argcomplete",
    "httpx2",
    "mcp",
    "msgspec",
    "openai",
    "opentelemetry",
    "pydantic",
    "re2",
    "rich",
    "yaml",
)
_PROGRAM = f"""
import sys
from streamcanary.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print("\\nimported:", *[name for name in {_HEAVY!r} if name in sys.modules])
"""


@pytest.mark.parametrize("name", VERBS)
def test_help_shows_the_examples_of_the_verb(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Each example is a line of its own that can be copied, and runs this verb."""
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    lines = capfd.readouterr().out.splitlines()
    assert VERBS[name].examples
    for example in VERBS[name].examples:
        assert f"  {example}" in lines
        assert f"streamcanary {name}" in example


@pytest.mark.parametrize("arguments", [("--help",), *((name, "--help") for name in VERBS)])
def test_help_imports_no_heavy_package(arguments: tuple[str, ...]) -> None:
    """The help needs argparse, and nothing that takes a tenth of a second to import."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM, *arguments], capture_output=True, text=True, check=True)
    assert "imported:" == done.stdout.splitlines()[-1].strip()


def test_all_verbs_are_in_the_help() -> None:
    """The help of the program has a line for each verb."""
    text = create_parser().format_help()
    for name, verb in VERBS.items():
        assert f"    {name}" in text
        assert verb.help in " ".join(text.split())


@pytest.mark.parametrize("verb", [(), ("check",), ("report",)])
def test_an_error_about_arguments_repeats_no_password(verb: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    """A URL that is given to the wrong verb or option is named without what is secret in it."""
    with pytest.raises(SystemExit) as ended:
        main([*verb, "--unknown", "postgresql://canary:hunter2secret@db.example/monitoring"])

    error = capfd.readouterr().err
    assert 2 == ended.value.code
    assert "error: " in error
    assert "hunter2secret" not in error
