"""CONTRIBUTING.md refers to existing files, symbols, make targets and dependencies."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "daemon/streamcanary"
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
_TOP = re.compile(r"(?:bench|config|daemon|docs|examples|helm|tests|tools|\.ci)/")
_PATH = re.compile(r"`(?P<path>[\w./-]+/(?:[\w.-]+)?)`")
_SYMBOLS = re.compile(r"(?P<symbols>`\w+`(?:(?:,| and| or| to)[\w ]* `\w+`)*) in `(?P<path>[\w./]+\.py)`")


def section(title: str) -> str:
    """Return the text of a section."""
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def resolve(path: str) -> Path:
    """Return the location of a path of the map: in the package, unless it starts with a folder of the repository."""
    return (ROOT if _TOP.match(path) else PACKAGE) / path


def rows() -> Iterator[str]:
    """Yield the rows of the map."""
    for line in section("Where to make a change").splitlines():
        if line.startswith("| ") and not line.startswith("| To "):
            yield line


def defined(path: Path) -> set[str]:
    """Return the names that a module defines at its top level; imports do not count."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names.update(target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return names


PATHS = sorted({found["path"] for row in rows() for found in _PATH.finditer(row)})
SYMBOLS = sorted(
    {
        (found["path"], symbol)
        for row in rows()
        for found in _SYMBOLS.finditer(row)
        for symbol in re.findall(r"`(\w+)`", found["symbols"])
    }
)


def test_the_map_comes_first() -> None:
    """The first section is the map of where to make a change, before the set-up."""
    assert "Where to make a change" == re.findall(r"^## (.+)$", TEXT, re.MULTILINE)[0]
    assert 22 <= len(list(rows()))
    assert {"a receiver", "a fault kind", "a detector", "a validator of answers", "a CLI verb", "a metric"} <= {
        row.split(" | ")[0].removeprefix("| ") for row in rows()
    }


@pytest.mark.parametrize("path", PATHS)
def test_each_path_of_the_map_exists(path: str) -> None:
    """Each path of the map exists; a path with a final slash is a folder."""
    assert resolve(path).is_dir() if path.endswith("/") else resolve(path).is_file()


@pytest.mark.parametrize(("path", "symbol"), SYMBOLS)
def test_each_symbol_of_the_map_is_defined_in_its_file(path: str, symbol: str) -> None:
    """Each symbol is defined at the top level of the module that the map names with it."""
    assert symbol in defined(resolve(path))


def test_the_map_names_symbols() -> None:
    """The patterns of this module find the symbols of the map."""
    assert ("alerting/detectors/__init__.py", "DetectorState") in SYMBOLS
    assert ("model/faults.py", "FAULT_PROPERTIES") in SYMBOLS
    assert 12 <= len(SYMBOLS)


@pytest.mark.parametrize(
    ("added", "words"),
    [
        ("a fault kind", "faults"),
        ("a built-in rule", "rules"),
        ("a CLI verb", "cli"),
        ("a metric", "telemetry"),
        ("a key of the configuration", "configuration"),
    ],
)
def test_a_row_names_the_descriptions_for_the_generated_page(added: str, words: str) -> None:
    """A row for something that a generated page lists names the file with its description, and `make docs`."""
    [row] = [row for row in rows() if row.startswith(f"| {added} |")]
    assert f"`tools/docs/words/{words}.yaml`, then `make docs` |" in row


def test_each_make_target_exists() -> None:
    """Each make target in the text is a rule of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    rules = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make (?:PYTHON=\S+ )?([a-z-]+)", TEXT, re.MULTILINE))
    assert set() == named - rules
    assert {"lint", "test", "release-check"} <= named


def test_each_check_of_make_lint_is_described() -> None:
    """The table has a row for each `lint-*` target, in the order of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^(lint-[a-z]+):", makefile, re.MULTILINE)
    assert targets == re.findall(r"^\| `make (lint-[a-z]+)` \|", section("Checks"), re.MULTILINE)


def test_each_dependency_has_its_reason() -> None:
    """The tables name the dependencies of pyproject.toml, and no others."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    needed = [*project["project"]["dependencies"], *(each for extra in extras for each in extra)]
    for group in project["dependency-groups"].values():
        needed += [each for each in group if isinstance(each, str)]
    names = {re.split(r"[<>=\[]", each)[0] for each in needed}
    listed = {
        name
        for line in section("Dependencies").splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([\w.-]+)`", line.split(" | ")[0])
    }
    assert names == listed
