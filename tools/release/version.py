"""Check that the version fits the changelog and the git tags."""

import re
import tomllib
from collections.abc import Iterable
from typing import NamedTuple

UNRELEASED = "Unreleased"

_HEADING = re.compile(r"## \[?(?P<title>[^\]\s]+)\]?(?: - (?P<date>\S+))?\s*$")
_VERSION = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}(?:(?:a|b|rc)[1-9]\d*)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class Section(NamedTuple):
    """A section of the changelog: its title, its date if it has one, and the count of its entries."""

    title: str
    date: str | None
    entries: int


def project_version(pyproject: str) -> str:
    """Return the version in the text of ``pyproject.toml``."""
    version: str = tomllib.loads(pyproject)["project"]["version"]
    return version


def sections(changelog: str) -> list[Section]:
    """Return the sections of a changelog in the format of Keep a Changelog, in the order of the file."""
    found: list[Section] = []
    for line in changelog.splitlines():
        if heading := _HEADING.match(line):
            found.append(Section(heading["title"], heading["date"], 0))
        elif found and line.startswith("- "):
            found[-1] = found[-1]._replace(entries=found[-1].entries + 1)
    return found


def section_text(changelog: str, title: str) -> str:
    """Return what the changelog says below the heading ``title``; empty if there is no such heading."""
    text: list[str] = []
    inside = False
    for line in changelog.splitlines():
        if heading := _HEADING.match(line):
            inside = heading["title"] == title
        elif inside:
            text.append(line)
    return "\n".join(text).strip()


def version_problems(
    version: str, changelog: str, tags: Iterable[str], *, tag_of_commit: str | None = None
) -> list[str]:
    """Return a sentence for each reason why ``version`` cannot be released with this changelog and these git tags.

    ``tag_of_commit`` is the tag for which the release is built, if there is one already: it must name the version.
    """
    problems = []
    if not _VERSION.fullmatch(version):
        problems.append(
            f"pyproject.toml: version {version} is not MAJOR.MINOR.PATCH, with aN, bN or rcN for a pre-release"
        )
    if tag_of_commit is not None:
        if tag_of_commit != f"v{version}":
            problems.append(f"pyproject.toml: version {version} is not that of the git tag {tag_of_commit}")
    elif tag := next((tag for tag in tags if tag.removeprefix("v") == version), None):
        problems.append(f"pyproject.toml: version {version} has already been released: git tag {tag} exists")
    return problems + _changelog_problems(version, sections(changelog))


def _changelog_problems(version: str, found: list[Section]) -> list[str]:
    problems = []
    heading = f"`## {version} - YYYY-MM-DD`"
    unreleased = [section for section in found if section.title == UNRELEASED]
    if entries := sum(section.entries for section in unreleased):
        one = entries == 1
        problems.append(
            f"CHANGELOG.md: {UNRELEASED} has {entries} {'entry' if one else 'entries'}; "
            f"move {'it' if one else 'them'} under the heading {heading}"
        )
    newest = next((section for section in found if section.title != UNRELEASED), None)
    if newest is None:
        problems.append(f"CHANGELOG.md: no version has a heading; add {heading}")
    elif newest.title != version:
        problems.append(
            f"CHANGELOG.md: the newest version is {newest.title}, and pyproject.toml has {version}; "
            f"add the heading {heading} or correct the version"
        )
    elif newest.date is None or not _DATE.fullmatch(newest.date):
        problems.append(f"CHANGELOG.md: the heading of {version} has no date; write {heading}")
    elif not newest.entries:
        problems.append(f"CHANGELOG.md: version {version} has no entries; list what has changed")
    return problems
