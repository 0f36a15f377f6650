"""The documentation says what the code does."""

import ast
import re
import sys
from pathlib import Path

import pytest

from streamcanary.cli.main import main
from streamcanary.model import faults
from streamcanary.model.faults import FAULT_PROPERTIES, Blame, FaultKind, Phase

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tools"))

import docs  # noqa: E402 - one of the tools, which are no package


def test_the_generated_docs_are_up_to_date() -> None:
    """What `make docs` would write is there."""
    assert 0 == docs.main(["--check"])


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the repository's documentation, which the tool takes for the real one."""
    (tmp_path / "README.md").write_text((ROOT / "README.md").read_text())
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    return tmp_path


def test_stale_docs_are_told_and_written(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--check names each file and writes nothing; without it the files are written."""
    readme = copied / "README.md"
    readme.write_text(readme.read_text().replace("| `max_attempts` | `3` |", "| `max_attempts` | `4` |"))
    told = "".join(
        f"{name} does not say what the code does: run `make docs`\n" for name in ("docs/faults.md", "README.md")
    )
    assert (1, told, False) == (docs.main(["--check"]), capsys.readouterr().err, (copied / "docs").exists())
    assert (0, 0) == (docs.main([]), docs.main(["--check"]))
    assert (ROOT / "README.md").read_text() == readme.read_text()


def test_a_readme_without_a_place_for_the_tables(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Then nothing is written, and the missing marks are named."""
    (copied / "README.md").write_text("# streamcanary\n")
    assert (1, True) == (docs.main([]), capsys.readouterr().err.startswith("README.md lacks <!-- options: begin"))


def test_the_tree_and_the_table_of_faults_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind that its tree blames on another, or that it lacks, is a mistake in one of the two."""
    stalled = FAULT_PROPERTIES[FaultKind.STALLED]
    for wrong, says in (
        (stalled._replace(blame=Blame.NETWORK), "stalled is to be mended by network, not by provider as its tree says"),
        (stalled._replace(phases=(Phase.END,)), "stalled stands under phase stream in its tree, and does not occur"),
    ):
        monkeypatch.setattr(docs, "FAULT_PROPERTIES", {**FAULT_PROPERTIES, FaultKind.STALLED: wrong})
        with pytest.raises(docs.Stale, match=says):
            docs.faults_page()
    tree = re.sub(".*stream_cut .*\n", "", faults.__doc__ or "")
    assert {"stream_cut"} == set(FaultKind) - {row.kind for row in docs.rows(tree)}


def test_the_readme_shows_what_there_is() -> None:
    """The Python in the README can be compiled, and what it imports can be had."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert 2 == len(blocks)
    for block in blocks:
        tree = compile(block, "README.md", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), "README.md", "exec"), {})  # noqa: S102 - our own README


def test_the_yaml_of_the_readme_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its configuration is a good one, and its unit tests pass on the example configuration."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    example = (ROOT / "config" / "streamcanary.yaml").read_text()
    (tmp_path / "streamcanary.yaml").write_text(example)
    config, tests = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "readme.yaml").write_text(config)
    (tmp_path / "tests.yaml").write_text(tests)
    for name, secret in (("hook-url", "http://127.0.0.1:1/"), ("hook-key", "whsec_" + "c2VjcmV0" * 4)):
        (tmp_path / "secrets").mkdir(exist_ok=True)
        (tmp_path / "secrets" / name).write_text(secret)
    codes = [main(["check", "-c", str(tmp_path / "readme.yaml")]), main(["test-rules", str(tmp_path / "tests.yaml")])]
    assert ([0, 0], "") == (codes, capsys.readouterr().err)
