"""`make release-check` reports each obstacle to a release in one sentence."""

import sys
from pathlib import Path

import pytest
from tools.release.__main__ import summary
from tools.release.build import Built, compare
from tools.release.command import CheckFailed, run
from tools.release.contents import sdist_problems, wheel_problems
from tools.release.trial import demo_problem
from tools.release.version import Section, project_version, section_text, sections, version_problems

import streamcanary

ROOT = Path(__file__).parents[2]
READY = """\
# Changelog

## Unreleased

## 0.2.0 - 2026-03-01

### Added

- A receiver,
  over two lines.
- A detector.

## 0.1.0 - 2026-01-31

- First release.
"""
TRACKED = ["pyproject.toml", "daemon/streamcanary/__init__.py", "daemon/streamcanary/py.typed", "tests/test_a.py"]
WHEEL = [
    "streamcanary/__init__.py",
    "streamcanary/py.typed",
    "streamcanary-0.2.0.dist-info/METADATA",
    "streamcanary-0.2.0.dist-info/WHEEL",
    "streamcanary-0.2.0.dist-info/RECORD",
    "streamcanary-0.2.0.dist-info/entry_points.txt",
    "streamcanary-0.2.0.dist-info/licenses/LICENSE",
]
SDIST = [f"streamcanary-0.2.0/{name}" for name in (*TRACKED, "PKG-INFO")]


def test_a_version_that_can_be_released() -> None:
    """The newest heading has the version and a date, `Unreleased` is empty, and no tag has the version."""
    assert [] == version_problems("0.2.0", READY, ["v0.1.0"])


def test_the_sections_of_a_changelog() -> None:
    """Headings may have brackets and dates, and an entry of several lines counts once."""
    assert [
        Section("Unreleased", None, 0),
        Section("0.2.0", "2026-03-01", 2),
        Section("0.1.0", "2026-01-31", 1),
    ] == sections(READY)
    assert [Section("1.0.0", "2026-01-01", 0)] == sections("## [1.0.0] - 2026-01-01\n")


@pytest.mark.parametrize("tag", ["v0.2.0", "0.2.0"])
def test_a_version_that_has_a_tag(tag: str) -> None:
    """A git tag of the version is reported, with and without the letter v."""
    expected = f"pyproject.toml: version 0.2.0 has already been released: git tag {tag} exists"
    assert [expected] == version_problems("0.2.0", READY, ["v0.1.0", tag])


def test_a_release_for_a_tag_that_exists() -> None:
    """A release that is built for a tag must have its version; the tag itself is no problem then."""
    tags = ["v0.1.0", "v0.2.0"]
    assert [] == version_problems("0.2.0", READY, tags, tag_of_commit="v0.2.0")
    expected = "pyproject.toml: version 0.2.0 is not that of the git tag v0.3.0"
    assert [expected] == version_problems("0.2.0", READY, [*tags, "v0.3.0"], tag_of_commit="v0.3.0")


def test_the_notes_of_a_release() -> None:
    """The notes are the section of the changelog; a version without one has none."""
    assert "### Added\n\n- A receiver,\n  over two lines.\n- A detector." == section_text(READY, "0.2.0")
    assert "- First release." == section_text(READY, "0.1.0")
    assert "" == section_text(READY, "0.3.0")


@pytest.mark.parametrize(
    ("changelog", "problem"),
    [
        (
            READY.replace("## Unreleased\n", "## Unreleased\n\n- A fix.\n"),
            "CHANGELOG.md: Unreleased has 1 entry; move it under the heading `## 0.2.0 - YYYY-MM-DD`",
        ),
        (
            READY.replace("## Unreleased\n", "## Unreleased\n\n- A fix.\n- Another.\n"),
            "CHANGELOG.md: Unreleased has 2 entries; move them under the heading `## 0.2.0 - YYYY-MM-DD`",
        ),
        (
            READY.replace("0.2.0 - 2026", "0.3.0 - 2026"),
            (
                "CHANGELOG.md: the newest version is 0.3.0, and pyproject.toml has 0.2.0; add the heading "
                "`## 0.2.0 - YYYY-MM-DD` or correct the version"
            ),
        ),
        (
            READY.replace(" - 2026-03-01", ""),
            "CHANGELOG.md: the heading of 0.2.0 has no date; write `## 0.2.0 - YYYY-MM-DD`",
        ),
        (
            READY.replace(" - 2026-03-01", " - soon"),
            "CHANGELOG.md: the heading of 0.2.0 has no date; write `## 0.2.0 - YYYY-MM-DD`",
        ),
        (
            "# Changelog\n\n## Unreleased\n",
            "CHANGELOG.md: no version has a heading; add `## 0.2.0 - YYYY-MM-DD`",
        ),
        (
            "## 0.2.0 - 2026-03-01\n",
            "CHANGELOG.md: version 0.2.0 has no entries; list what has changed",
        ),
    ],
)
def test_a_changelog_that_does_not_match_the_version(changelog: str, problem: str) -> None:
    """The message states the required heading or entry."""
    assert [problem] == version_problems("0.2.0", changelog, [])


@pytest.mark.parametrize("version", ["0.2", "v0.2.0", "0.2.0.dev1", "0.02.0", "next"])
def test_a_version_that_is_not_semantic(version: str) -> None:
    """A version that is not three numbers with an optional pre-release suffix is rejected."""
    expected = f"pyproject.toml: version {version} is not MAJOR.MINOR.PATCH, with aN, bN or rcN for a pre-release"
    assert [expected] == version_problems(version, READY.replace("0.2.0", version), [])


@pytest.mark.parametrize("version", ["0.2.0rc1", "1.0.0b2", "10.20.30"])
def test_a_pre_release(version: str) -> None:
    """A version in the form of Python packages is accepted."""
    assert [] == version_problems(version, READY.replace("0.2.0", version), [])


def test_the_version_of_this_project() -> None:
    """The version in pyproject.toml is the version of the installed package."""
    assert streamcanary.__version__ == project_version((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_changelog_of_this_project() -> None:
    """The first section of the changelog is `Unreleased`."""
    assert "Unreleased" == sections((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))[0].title


def test_complete_archives() -> None:
    """A wheel with the package and its metadata, and a source distribution with all tracked files, are accepted."""
    assert [] == wheel_problems(WHEEL, TRACKED, "0.2.0")
    assert [] == sdist_problems(SDIST, TRACKED, "0.2.0")


def test_an_incomplete_wheel() -> None:
    """A wheel without a data file, `py.typed` or the licence is rejected."""
    for name in ("streamcanary/py.typed", "streamcanary-0.2.0.dist-info/licenses/LICENSE"):
        assert [f"the wheel lacks {name}"] == wheel_problems([each for each in WHEEL if each != name], TRACKED, "0.2.0")
    data = "daemon/streamcanary/cli/demo.yaml"
    assert ["the wheel lacks streamcanary/cli/demo.yaml"] == wheel_problems(WHEEL, [*TRACKED, data], "0.2.0")


def test_py_typed_is_required_even_if_git_does_not_track_it() -> None:
    """A wheel without `py.typed`, which type checkers need, is rejected even if git does not track the file."""
    tracked = [name for name in TRACKED if not name.endswith("py.typed")]
    wheel = [name for name in WHEEL if not name.endswith("py.typed")]
    assert ["the wheel lacks streamcanary/py.typed"] == wheel_problems(wheel, tracked, "0.2.0")


def test_archives_with_surplus_files() -> None:
    """Tests in the wheel, and untracked files in the source distribution, are rejected."""
    assert ["the wheel contains tests/test_a.py, which git does not track there"] == wheel_problems(
        [*WHEEL, "tests/test_a.py"], TRACKED, "0.2.0"
    )
    surplus = [f"streamcanary-0.2.0/note-{number}.txt" for number in range(7)]
    listed = ", ".join(surplus[:5])
    assert [f"the source distribution contains {listed} and 2 more, which git does not track there"] == sdist_problems(
        [*SDIST, *surplus], TRACKED, "0.2.0"
    )


def test_a_leftover_in_the_package() -> None:
    """A file of a merge tool in the package is rejected, even if git tracks it."""
    assert [
        "the package contains streamcanary/app.py.orig, which is neither Python nor YAML; remove it from git"
    ] == wheel_problems([*WHEEL, "streamcanary/app.py.orig"], [*TRACKED, "daemon/streamcanary/app.py.orig"], "0.2.0")


def test_builds_that_differ(tmp_path: Path) -> None:
    """Two builds of a commit with different bytes in a file are not reproducible."""
    built = []
    for name, content in (("first", "a"), ("second", "a"), ("third", "b")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "x.tar.gz").write_text("sdist")
        (folder / "x.whl").write_text(content)
        built.append(Built(folder / "x.tar.gz", folder / "x.whl"))
    compare(built[0], built[1])
    with pytest.raises(CheckFailed, match=r"x\.whl is not reproducible: two builds of the same commit differ"):
        compare(built[0], built[2])


def test_the_summary_of_a_version_that_can_be_released() -> None:
    """The summary has the next steps."""
    assert "version 0.2.0 can be released: git tag v0.2.0, then push the tag" == summary("0.2.0", [], [])


def test_the_summary_of_a_rehearsal() -> None:
    """The summary says that the trial passed, and repeats the problems that the check has found before it."""
    assert (
        "the build and its trial passed; version 0.2.0 cannot be released yet because of 2 problems:\n"
        "  CHANGELOG.md: no date\n"
        "  the work tree is not clean"
    ) == summary("0.2.0", ["CHANGELOG.md: no date", "the work tree is not clean"], [])


def test_the_summary_of_a_failed_trial() -> None:
    """The summary says that the trial failed, and repeats its problem."""
    assert (
        "the build or its trial failed; version 0.2.0 cannot be released yet because of 1 problem:\n"
        "  `streamcanary --version` fails: exit code 1"
    ) == summary("0.2.0", [], ["`streamcanary --version` fails: exit code 1"])


def test_the_summary_of_the_demo() -> None:
    """A summary in which each fired alert is resolved is accepted, also after other lines."""
    assert None is demo_problem('a line\n{"runs": 9, "failed": 5, "alerts_fired": 1, "alerts_resolved": 1}\n')


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ("", "prints no JSON summary on its last line"),
        ("[]\n", "prints no JSON summary on its last line"),
        ("{}\nbye\n", "prints no JSON summary on its last line"),
        (
            '{"runs": 9, "failed": 5, "alerts_fired": 2, "alerts_resolved": 1}',
            "reports 9 runs, 5 failed, 2 alerts fired, 1 resolved; each must be resolved",
        ),
        (
            '{"runs": 9, "failed": 0, "alerts_fired": 0, "alerts_resolved": 0}',
            "reports 9 runs, 0 failed, 0 alerts fired, 0 resolved; each must be resolved",
        ),
    ],
)
def test_a_demo_that_did_not_work(output: str, problem: str) -> None:
    """A missing summary, and counts of unresolved alerts, are reported."""
    assert problem == demo_problem(output)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["-c", "import sys; print('why'); sys.exit(3)"], "it fails: exit code 3\n    why"),
        (["-c", "import time; time.sleep(60)"], "it fails: it takes more than 2 s"),
    ],
)
def test_a_program_that_fails(command: list[str], problem: str, tmp_path: Path) -> None:
    """The message has the exit code and the last lines of the output, or the exceeded time limit."""
    with pytest.raises(CheckFailed) as failure:
        run([sys.executable, *command], "it fails", cwd=tmp_path, seconds=2.0)
    assert problem == str(failure.value)


def test_a_program_that_does_not_exist(tmp_path: Path) -> None:
    """The message has the error of the operating system."""
    with pytest.raises(CheckFailed, match="it fails: No such file or directory"):
        run([tmp_path / "none"], "it fails", cwd=tmp_path)
