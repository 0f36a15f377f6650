"""`make lint` and the pre-commit hooks run the same commands."""

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hooks() -> list[dict[str, Any]]:
    """Return the hooks of `.pre-commit-config.yaml`, which are all local."""
    config = YAML(typ="safe").load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert ["local"] == [each["repo"] for each in config["repos"]]
    hooks: list[dict[str, Any]] = config["repos"][0]["hooks"]
    return hooks


def commands(*targets: str) -> list[str]:
    """Return the commands of make targets in a complete environment."""
    command = ["make", "--dry-run", "--no-print-directory", "--old-file=.venv/.developed", *targets]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return [line for line in done.stdout.splitlines() if line.startswith(".venv/bin/")]


def test_the_hooks_run_each_command_of_make_lint(hooks: list[dict[str, Any]]) -> None:
    """The hooks run the commands of `make lint` in the same order, and no others."""
    targets = [shlex.split(hook["entry"]) for hook in hooks]
    assert {"make"} == {program for program, *_ in targets}
    by_hooks = commands(*(target for _, target in targets))
    assert commands("lint") == by_hooks
    assert 6 <= len(by_hooks)


def test_each_target_of_make_lint_is_a_hook(hooks: list[dict[str, Any]]) -> None:
    """A target `lint-x` has the hook `x`."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [line.partition(":")[0] for line in makefile.splitlines() if line.startswith("lint-")]
    assert targets == [f"lint-{hook['id']}" for hook in hooks]


def test_the_hooks_need_no_network(hooks: list[dict[str, Any]]) -> None:
    """The hooks call installed programs, and their targets install nothing."""
    assert {"system"} == {hook["language"] for hook in hooks}
    done = subprocess.run(
        ["make", "--dry-run", *(f"lint-{hook['id']}" for hook in hooks)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "pip" not in done.stdout


def test_the_hooks_check_the_whole_tree(hooks: list[dict[str, Any]]) -> None:
    """Make takes no file names, so pre-commit must not pass any."""
    known = {"id", "name", "entry", "language", "pass_filenames", "types", "types_or"}
    assert [] == [hook["id"] for hook in hooks if hook["pass_filenames"] or hook.keys() - known]
    assert len(hooks) == len({hook["id"] for hook in hooks})


def test_documentation_is_checked_when_one_of_its_sources_changes(hooks: list[dict[str, Any]]) -> None:
    """The hook runs for code, pages, and YAML: descriptions, the navigation of the site, and the examples."""
    [hook] = [each for each in hooks if each["id"] == "docs"]
    assert {"python", "markdown", "yaml"} == set(hook["types_or"])


def test_a_lint_target_without_its_tools_names_the_command_to_run(tmp_path: Path) -> None:
    """In a clone without `.venv` the target fails and names the command that installs the tools."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(
        ["make", "lint-format"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (2, True) == (done.returncode, done.stderr.startswith("The tools are not installed: run `make lint` once."))
