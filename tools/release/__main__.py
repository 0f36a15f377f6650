"""Check that the work tree can be released; exit with 1 and one sentence a problem if it cannot.

The version fits the changelog and the git tags, the work tree is clean, the archives can be built, are reproducible and
complete, pass ``twine check``, and the wheel works in an empty environment. The archives are left in ``dist/``.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .build import Built, build, compare, names, sha256
from .command import CheckFailed, progress, run
from .contents import sdist_problems, wheel_problems
from .trial import trial
from .version import project_version, version_problems

ROOT = Path(__file__).resolve().parents[2]
_SHOWN = 3  # changed files that a message lists


class Report:
    """The problems found so far, and the time since the start."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._began = time.monotonic()

    def add(self, *problems: str) -> None:
        """Print each problem and keep it."""
        for problem in problems:
            sys.stderr.write(f"{problem}\n")
        self.problems += problems

    def attempt(self, step: str, check: Callable[[], None]) -> bool:
        """Announce a step, run it, and return whether it succeeded; its failure becomes a problem."""
        progress(f"{step} ({time.monotonic() - self._began:.0f} s)")
        try:
            check()
        except CheckFailed as failure:
            self.add(str(failure))
            return False
        return True


def git(*arguments: str) -> str:
    """Return what git prints about the work tree.

    Raises:
        CheckFailed: if it cannot.
    """
    return run(["git", *arguments], f"`git {arguments[0]}` fails", cwd=ROOT)


def tree_problems() -> list[str]:
    """Return a sentence if the work tree has changes that are not committed."""
    changed = [line[3:] for line in git("status", "--porcelain").splitlines()]
    if not changed:
        return []
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return [f"the work tree is not clean: commit or remove {', '.join(changed[:_SHOWN])}{more}"]


def check_archives(built: Built, version: str) -> None:
    """Check the content of both archives, and their metadata.

    Raises:
        CheckFailed: if something is missing or too much.
    """
    tracked = git("ls-files").splitlines()
    sdist, wheel = names(built)
    if problems := [*sdist_problems(sdist, tracked, version), *wheel_problems(wheel, tracked, version)]:
        raise CheckFailed("\n".join(problems))
    run([sys.executable, "-m", "twine", "check", "--strict", *built], "`twine check --strict` fails", cwd=ROOT)


def publish(built: Built) -> None:
    """Copy the archives into ``dist/``, which then contains nothing else, and print their SHA-256."""
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir()
    for path in built:
        shutil.copy2(path, dist)
        sys.stdout.write(f"{sha256(path)}  dist/{path.name}\n")
    sys.stdout.flush()


def check_build(report: Report, version: str, folder: Path) -> None:
    """Build twice, check what was built, and try it out."""
    epoch = git("log", "-1", "--format=%ct").strip()
    builds: list[Built] = []

    def build_twice() -> None:
        builds.extend(build(ROOT, folder / name, epoch) for name in ("first", "second"))
        compare(*builds)

    if not report.attempt("building the archives twice", build_twice):
        return
    built = builds[0]
    publish(built)
    report.attempt("checking the archives", lambda: check_archives(built, version))
    lock = ROOT / "requirements.lock"
    report.attempt("trying the wheel out", lambda: trial(built.wheel, lock, version, folder / "trial"))


def summary(version: str, not_ready: Sequence[str], failed: Sequence[str]) -> str:
    """Return the result of a check that built the archives, with the problems found before the build and after it."""
    problems = [*not_ready, *failed]
    if not problems:
        return f"version {version} can be released: git tag v{version}, then push the tag"
    trial = "the build or its trial failed" if failed else "the build and its trial passed"
    count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
    lines = [
        f"{trial}; version {version} cannot be released yet because of {count}:",
        *problems,
    ]
    return "\n  ".join(lines)


def main(arguments: list[str]) -> int:
    """Return 0 if the work tree can be released, and 1 if not."""
    parser = argparse.ArgumentParser(prog="make release-check", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keep-going", action="store_true", help="build and try it out even if it is not ready")
    parser.add_argument("--tag", help="the release is built for this git tag, which exists already")
    options = parser.parse_args(arguments)
    report = Report()
    try:
        version = project_version((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        tags = git("tag", "--list").split()
        report.add(*version_problems(version, changelog, tags, tag_of_commit=options.tag), *tree_problems())
        if report.problems and not options.keep_going:
            progress("not built; ARGS=--keep-going builds all the same")
            return 1
        not_ready = len(report.problems)
        with tempfile.TemporaryDirectory(prefix="streamcanary-release-") as folder:
            check_build(report, version, Path(folder))
        progress(summary(version, report.problems[:not_ready], report.problems[not_ready:]))
    except CheckFailed as failure:
        report.add(str(failure))
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
