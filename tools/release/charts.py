"""Packages Helm charts and Kustomize component for a release: ``python -m tools.release.charts OWNER/NAME FOLDER``.

The charts name the image and the address of the GitHub repository that releases them. Their ``appVersion`` is the
version in ``pyproject.toml``, which is the tag of the image; their own version is the same in the form of Helm.
"""

import gzip
import io
import re
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from .command import CheckFailed, run
from .version import project_version

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY: Final = "streamcanary/streamcanary"
"""The repository that the files of the charts name."""

_PRE_RELEASE: Final = re.compile(r"(a|b|rc)(\d+)$")
_REPOSITORY: Final = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_IMAGE_TAG: Final = re.compile(r"(image: ghcr\.io/[\w./-]+:)\S+")
_TEXT: Final = ("*.yaml", "*.md", "*.txt", "*.tpl")


def chart_version(version: str) -> str:
    """Return the version of Python packages ``version`` as Helm needs it: ``0.2.0rc1`` as ``0.2.0-rc.1``.

    Both order ``a``, ``b``, ``rc`` and the release alike (https://semver.org/#spec-item-11).
    """
    return _PRE_RELEASE.sub(r"-\1.\2", version)


def package_charts(root: Path, version: str, repository: str, folder: Path, helm: str | Path = "helm") -> list[Path]:
    """Package each chart below ``root / "helm"`` into ``folder``, for a release of ``repository``; return the packages.

    Names of images have no capitals (https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pull), so
    theirs is lower case.

    Raises:
        CheckFailed: if ``repository`` is no OWNER/NAME, or helm refuses a chart.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise CheckFailed(f"{repository} is not the OWNER/NAME of a repository")
    packages = []
    for source in sorted(path.parent for path in (root / "helm").glob("*/Chart.yaml")):
        with tempfile.TemporaryDirectory() as temporary:
            chart = Path(temporary) / source.name
            shutil.copytree(source, chart)
            for path in (path for pattern in _TEXT for path in chart.rglob(pattern)):
                path.write_text(_renamed(path.read_text(encoding="utf-8"), repository), encoding="utf-8")
            versions = ("--version", chart_version(version), "--app-version", version)
            run([helm, "package", chart, *versions, "--destination", folder], f"helm package {source.name}", cwd=root)
        packages.append(folder / f"{source.name}-{chart_version(version)}.tgz")
    return packages


def package_component(root: Path, version: str, repository: str, folder: Path) -> Path:
    """Archive the Kustomize component into ``folder``, for a release of ``repository``; return the archive.

    Its image has the tag ``version``. The same files give the same archive.
    """
    component = root / "helm" / "kustomize"
    archive = folder / f"streamcanary-kustomize-{version}.tar.gz"
    folder.mkdir(parents=True, exist_ok=True)
    with (
        archive.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as members,
    ):
        for path in sorted(path for pattern in _TEXT for path in component.rglob(pattern)):
            text = _renamed(path.read_text(encoding="utf-8"), repository)
            content = _IMAGE_TAG.sub(rf"\g<1>{version}", text).encode()
            member = tarfile.TarInfo(f"streamcanary-kustomize/{path.relative_to(component).as_posix()}")
            member.size = len(content)
            members.addfile(member, io.BytesIO(content))
    return archive


def _renamed(text: str, repository: str) -> str:
    addresses = text.replace(f"github.com/{REPOSITORY}", f"github.com/{repository}")
    return addresses.replace(f"ghcr.io/{REPOSITORY}", f"ghcr.io/{repository.lower()}")


def main(arguments: list[str]) -> int:
    """Return 0 if charts and component are packaged."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m tools.release.charts OWNER/NAME FOLDER\n")
        return 2
    repository, folder = arguments
    version = project_version((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    try:
        packages = package_charts(ROOT, version, repository, Path(folder).absolute())
        packages.append(package_component(ROOT, version, repository, Path(folder).absolute()))
    except CheckFailed as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    sys.stdout.write("".join(f"{package}\n" for package in packages))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
